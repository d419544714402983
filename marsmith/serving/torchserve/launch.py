"""Start TorchServe's Java process in a folder."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import psutil

from marsmith.errors import ServerError
from marsmith.serving.host.plan import LogFormat, Plan
from marsmith.serving.host.run_folder import WORKERS
from marsmith.serving.torchserve.readiness import last_lines

LOG_CONFIG = Path(__file__).parent / "log4j2.xml"
FORK_SERVER = Path(__file__).with_name("fork_server.py")
FORKED_WORKER = Path(__file__).with_name("forked_worker.py")
LAUNCH_S = 60.0
LAUNCHER = """
import sys
sys.executable = sys.argv.pop(1)
from ts.model_server import start
start()
"""
"""TorchServe's own launcher, which has Java start workers with its own `sys.executable`."""


def _of_a_worker(group: int) -> str:
    """A part of the name of a worker's thread, W-PORT-MODEL_VERSION; nothing of another's."""
    name = r"^W-\d+-(.*)_(.*?)(-stdout|-stderr)?$"
    return "%replace{%replace{%t}{^(?!W-).*$}{}}{" + name + "}{$" + str(group) + "}"


WRAPPED = (
    r"""{"time": "%d{yyyy-MM-dd'T'HH:mm:ss.SSS'Z'}{UTC}", "level": "%p", "logger": "%c", """
    f'"thread": "%t", "model": "{_of_a_worker(1)}", "version": "{_of_a_worker(2)}", '
    r'"message": "%enc{%m}{JSON}", "stack": "%enc{%xEx}{JSON}"}'
)
LAYOUTS: dict[LogFormat, str] = {
    "text": "%d{ISO8601} [%p] %t %c - %m%n",
    # What workers have marked as JSON is left as it is; all else is put into an object.
    "json": r"%replace{%replace{%m}{(?s)^[^\x1e].*$}{}}{^\x1e}{}"
    r"%replace{" + WRAPPED + r'}{(?s)^.*?"message": "\\u001[eE].*$}{}%n',
}
"""The layouts of log4j2.xml, which takes one from its environment."""


def launch(folder: Path, logs: Path, plan: Plan) -> psutil.Process:
    """Start TorchServe through its own launcher, which ends as soon as Java runs.

    Args:
        folder: where it starts: `config.properties`, and `store` with the archives.
        logs: the folder of its logs.
        plan: where it has sockets, the Java to run it, and the models to load.

    Returns:
        The Java process.

    Raises:
        ServerError: it did not start.
    """
    environment, console = _environment(logs, plan), logs / "console.log"
    with console.open("wb") as output:
        python = _python(plan, folder, environment, output)
    command = [sys.executable, "-c", LAUNCHER, str(python), "--start", "--ncs"]
    command += ["--ts-config", "config.properties", "--model-store", "store"]
    command += ["--log-config", str(LOG_CONFIG)]
    command += ["--models", *(f"{name}={name}.mar" for name in plan.names)]
    pid_file = plan.temp_dir / ".model_server.pid"
    pid_file.unlink(missing_ok=True)  # of one that died
    with console.open("ab") as output:
        launcher = subprocess.run(
            command,
            cwd=folder,
            env=environment,
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


def _python(plan: Plan, folder: Path, environment: dict[str, str], output: IO[bytes]) -> Path:
    """Start a fork server; return what is to start workers in the place of Python.

    Where there can't be one, that is Python itself: off Linux, and where no file of ours may be
    executed.
    """
    python, path = Path(sys.executable), plan.temp_dir / "forks"
    script = plan.temp_dir / "python"
    worker = shlex.join([sys.executable, "-I", "-S", str(FORKED_WORKER), str(path)])
    script.write_text(f'#!/bin/sh\nexec {worker} "$@"\n', encoding="utf-8")
    script.chmod(0o700)
    if not hasattr(os, "pidfd_open") or not os.access(script, os.X_OK):
        return python
    path.unlink(missing_ok=True)  # of one that died
    fork_server(path, folder, environment, output)
    return script


def fork_server(path: Path, folder: Path, environment: Mapping[str, str], output: IO[bytes]) -> int:
    """Start a fork server, which nobody waits for: it is ended with the workers, by its name.

    Args:
        path: its socket, which takes requests from now on.
        folder: where it runs.
        environment: the workers', but for what is a worker's own; no PYTHONPATH is taken from it.
        output: takes what it prints.

    Returns:
        Its pid.
    """
    shared = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(socket.SOMAXCONN)
        command = [sys.executable, str(FORK_SERVER), "--sock-name", str(path)]
        process = subprocess.Popen(
            [*command, "--listen", str(listener.fileno())],
            cwd=folder,
            env=shared,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    process.returncode = 0
    return process.pid


def _environment(logs: Path, plan: Plan) -> dict[str, str]:
    """Return this process's environment with what must be the server's own."""
    environment = {name: value for name, value in os.environ.items() if name != "TS_CONFIG_FILE"}
    if not str(logs).isascii():
        # In the C locale Java can't open such a path.
        environment["LC_ALL"] = "C.UTF-8"
    return environment | {
        "MARSMITH_WORKERS": str(plan.temp_dir / WORKERS),
        "TEMP": str(plan.temp_dir),
        "TMPDIR": str(plan.temp_dir),
        "LOG_LOCATION": str(logs),
        "MARSMITH_LOG_LAYOUT": LAYOUTS[plan.log_format],
        "MARSMITH_LOG_EXCEPTIONS": str(plan.log_format == "text").lower(),
        "MARSMITH_LOG_FORMAT": plan.log_format,
        "METRICS_LOCATION": str(logs),
        "JAVA_HOME": str(plan.java_home),
        "PATH": os.pathsep.join([str(plan.java_home / "bin"), os.environ.get("PATH", os.defpath)]),
    }
