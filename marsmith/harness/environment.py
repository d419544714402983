"""What the frontend starts a worker with: TorchServe's files and environment variables."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from marsmith.errors import ServerError

_FIND = "import importlib.util as u; print(u.find_spec('ts').submodule_search_locations[0])"
_BACKEND = {
    "TS_DECODE_INPUT_REQUEST": "true",
    "TS_IPEX_ENABLE": "false",
    "TS_IPEX_GPU_ENABLE": "false",
}


def torchserve_home(python: str, env: Mapping[str, str], cwd: Path) -> Path:
    """The folder that holds the interpreter's own `ts`.

    Raises:
        ServerError: the interpreter has none.
    """
    try:
        found = subprocess.run(
            [python, "-c", _FIND], cwd=cwd, env=env, capture_output=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerError(
            f"no TorchServe was found for {python}: {error}",
            hint=f"{python} -m pip install torchserve pyyaml",
        ) from error
    return Path(os.fsdecode(found.stdout.splitlines()[-1])).parent


def worker_environment(
    extra: Mapping[str, str], home: Path, model_dir: Path, handler: str
) -> dict[str, str]:
    """The frontend's variables, and its module path: the handler's, the host's, the model's."""
    env = {**os.environ, **_BACKEND, **extra}
    file, colon, _ = handler.partition(":")
    path = [file.rpartition("/")[0] or file] if colon else []
    path += [env["PYTHONPATH"]] if "PYTHONPATH" in env else []
    installed = "site-packages" in str(home) or "dist-packages" in str(home)
    path += [str(model_dir), "" if installed else str(home)]
    return {**env, "PYTHONPATH": os.pathsep.join(path)}
