"""Start TorchServe's Java process in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from marsmith.errors import ServerError
from marsmith.serving.host.run_folder import WORKERS
from marsmith.serving.torchserve.readiness import last_lines

LOG_CONFIG = Path(__file__).parent / "log4j2.xml"
LAUNCH_S = 60.0


def launch(
    folder: Path, logs: Path, temp_dir: Path, java_home: Path, models: tuple[str, ...]
) -> psutil.Process:
    """Start TorchServe through its own launcher, which ends as soon as Java runs.

    Args:
        folder: where it starts: `config.properties`, and `store` with the archives.
        logs: the folder of its logs.
        temp_dir: for its sockets and extracted models.
        java_home: the Java to run it.
        models: the names of those to load.

    Returns:
        The Java process.

    Raises:
        ServerError: it did not start.
    """
    command = [sys.executable, "-m", "ts.model_server", "--start", "--ncs"]
    command += ["--ts-config", "config.properties", "--model-store", "store"]
    command += ["--log-config", str(LOG_CONFIG)]
    command += ["--models", *(f"{name}={name}.mar" for name in models)]
    console = logs / "console.log"
    pid_file = temp_dir / ".model_server.pid"
    pid_file.unlink(missing_ok=True)  # of one that died
    with console.open("wb") as output:
        launcher = subprocess.run(
            command,
            cwd=folder,
            env=_environment(logs, temp_dir, java_home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=LAUNCH_S,
            check=False,
            # Ctrl-C in this terminal is not meant for a server in the background.
            start_new_session=True,
        )
    try:
        return psutil.Process(int(pid_file.read_text()))
    except (OSError, ValueError, psutil.Error) as error:
        raise ServerError(
            f"TorchServe did not start (exit status {launcher.returncode}); it said:\n"
            + last_lines(console)
        ) from error


def _environment(logs: Path, temp_dir: Path, java_home: Path) -> dict[str, str]:
    """Return this process's environment with what must be the server's own."""
    environment = {name: value for name, value in os.environ.items() if name != "TS_CONFIG_FILE"}
    if not str(logs).isascii():
        # In the C locale Java can't open such a path.
        environment["LC_ALL"] = "C.UTF-8"
    return environment | {
        "MARSMITH_WORKERS": str(temp_dir / WORKERS),
        "TEMP": str(temp_dir),
        "TMPDIR": str(temp_dir),
        "LOG_LOCATION": str(logs),
        "METRICS_LOCATION": str(logs),
        "JAVA_HOME": str(java_home),
        "PATH": os.pathsep.join([str(java_home / "bin"), os.environ.get("PATH", os.defpath)]),
    }
