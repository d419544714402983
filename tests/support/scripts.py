"""Shell scripts as people run them, with the commands of this environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def bash(script: str, folder: Path, environment: dict[str, str] | None = None) -> str:
    """Run a script as it stands; `marsmith` and TorchServe's commands are found."""
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env={**os.environ, "PATH": path, **(environment or {})},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
