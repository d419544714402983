"""Start TorchServe's Java process in a run folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from marsmith.errors import ServerError
from marsmith.serving.torchserve.ports import Ports
from marsmith.serving.torchserve.readiness import last_lines
from marsmith.serving.torchserve.run_folder import ServerInfo

LOG_CONFIG = Path(__file__).parent / "log4j2.xml"
LAUNCH_S = 60.0


def launch(
    run_dir: Path, temp_dir: Path, java_home: Path, ports: Ports, models: tuple[str, ...]
) -> ServerInfo:
    """Start TorchServe through its own launcher, which ends as soon as Java runs."""
    command = [sys.executable, "-m", "ts.model_server", "--start", "--ncs"]
    command += ["--ts-config", "config.properties", "--model-store", "store"]
    command += ["--log-config", str(LOG_CONFIG)]
    command += ["--models", *(f"{name}={name}.mar" for name in models)]
    console = run_dir / "logs" / "console.log"
    with console.open("wb") as output:
        launcher = subprocess.run(
            command,
            cwd=run_dir,
            env=_environment(run_dir, temp_dir, java_home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=LAUNCH_S,
            check=False,
            # Ctrl-C in this terminal is not meant for a server in the background.
            start_new_session=True,
        )
    try:
        pid = int((temp_dir / ".model_server.pid").read_text())
        java = psutil.Process(pid)
        created = java.create_time()
    except (OSError, ValueError, psutil.Error) as error:
        raise ServerError(
            f"TorchServe did not start (exit status {launcher.returncode}); it said:\n"
            + last_lines(console)
        ) from error
    return ServerInfo(
        ports=ports, pid=pid, create_time=created, temp_dir=temp_dir, run_dir=run_dir, models=models
    )


def _environment(run_dir: Path, temp_dir: Path, java_home: Path) -> dict[str, str]:
    """Return this process's environment with what must be the server's own."""
    environment = {name: value for name, value in os.environ.items() if name != "TS_CONFIG_FILE"}
    logs = str(run_dir / "logs")
    if not logs.isascii():
        # In the C locale Java can't open such a path.
        environment["LC_ALL"] = "C.UTF-8"
    return environment | {
        "TEMP": str(temp_dir),
        "TMPDIR": str(temp_dir),
        "LOG_LOCATION": logs,
        "METRICS_LOCATION": logs,
        "JAVA_HOME": str(java_home),
        "PATH": os.pathsep.join([str(java_home / "bin"), os.environ.get("PATH", os.defpath)]),
    }
