"""Start a server's supervisor, and refuse what would be open."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

from marsmith.errors import ServerError
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.serving.torchserve.readiness import Progress, last_lines

SPARE_S = 60.0
"""How much longer than it may take a start is waited for, before it is ended by force."""
LOOPBACK = "127.0.0.1"
SUPERVISOR = """
import importlib, sys
from pathlib import Path
sys.path.append(sys.argv[1])
sys.exit(importlib.import_module(sys.argv[2]).main(Path(sys.argv[3])))
"""


class Started(Protocol):
    """What a start knows of a server's plan."""

    @property
    def run_dir(self) -> Path:
        """Its folder."""

    @property
    def timeout_s(self) -> float:
        """How long the models may take to load."""


def supervised(
    plan: Started, on_progress: Progress, supervisor: str = "marsmith.serving.supervisor"
) -> ServerInfo:
    """Start a server's supervisor, and hear from it how the start goes.

    Args:
        plan: what the supervisor reads in the server's folder.
        on_progress: takes a few words about each step.
        supervisor: the module whose `main` it is.

    Raises:
        ServerError: the server doesn't start; the supervisor has ended what it had started.
    """
    # Not by `-m`, nor by PYTHONPATH: workers inherit that.
    root = str(Path(__file__).parents[2])
    with (plan.run_dir / "logs" / "supervisor.log").open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, root, supervisor, str(plan.run_dir)],
            cwd=plan.run_dir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            # Ctrl-C in this terminal is not meant for a server in the background.
            start_new_session=True,
        )
    try:
        return _heard(process, plan, on_progress)
    except BaseException:
        process.terminate()
        try:
            process.wait(SPARE_S)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    finally:
        if process.stdout:
            process.stdout.close()


def _heard(process: subprocess.Popen[bytes], plan: Started, on_progress: Progress) -> ServerInfo:
    log = plan.run_dir / "logs" / "supervisor.log"
    deadline = time.monotonic() + plan.timeout_s + SPARE_S
    for line in _lines(process, deadline):
        said = json.loads(line)
        if "progress" in said:
            on_progress(said["progress"])
        elif "ready" in said:
            # It lives on, and is nobody's child any more.
            process.returncode = 0
            return ServerInfo.model_validate(said["ready"])
        else:
            raise ServerError(said["error"], hint=said["hint"])
    raise ServerError(
        "the server's supervisor ended, or fell silent, while it started; it said:\n"
        + last_lines(log),
        hint=f"see its logs in {log.parent}",
    )


def _lines(process: subprocess.Popen[bytes], deadline: float) -> Iterator[bytes]:
    """Yield the lines that a process prints, until it ends or the time is up."""
    if process.stdout is None:
        return
    rest = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            return
        chunk = os.read(process.stdout.fileno(), 65_536)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def refuse_ignored(front: bool, keys: bool, cert: object, key: object, ca: object) -> None:
    """Refuse what would be ignored, while its user relies on it.

    Raises:
        ServerError: with what to do.
    """
    if (key or ca) and not cert:
        raise ServerError(
            "--tls-key and --client-ca do nothing without --tls-cert",
            hint="give --tls-cert, a PEM file with the server's certificate",
        )
    if not front and (cert or not keys):
        raise ServerError(
            "TLS and --no-keys are the front's: bare TorchServe has neither",
            hint="leave --no-front out",
        )


def refuse_open(host: str, *, front: bool, keys: bool, tls: bool, insecure: bool) -> None:
    """Refuse what would be open to other machines.

    Raises:
        ServerError: with what to do.
    """
    try:
        loopback = ip_address(host).is_loopback
    except ValueError as error:
        raise ServerError(
            f"{host!r} is no address to listen at: an IP address of this machine, 127.0.0.1, or"
            " 0.0.0.0 for all of them"
        ) from error
    if loopback and (front or host == LOOPBACK):
        return
    if not front:
        raise ServerError(
            f"bare TorchServe listens at {LOOPBACK} alone, not at {host}: it has no TLS, and its"
            " metrics and management need none of its keys",
            hint="leave --no-front out",
        )
    if not keys:
        raise ServerError(
            f"a server at {host} needs keys: everybody could ask it", hint="leave --no-keys out"
        )
    if not tls and not insecure:
        raise ServerError(
            f"a server at {host} needs TLS: keys and data would travel in the clear",
            hint="give --tls-cert and --tls-key; or, where something before it has TLS,"
            " --insecure-http",
        )


def refuse_front_alone(**said: object) -> None:
    """Refuse what only a TorchServe behind its front has, where Ray serves.

    Args:
        said: the options by name, those that were left out with False.

    Raises:
        ServerError: with what to do.
    """
    told = [f"--{name.replace('_', '-')}" for name, value in said.items() if value]
    if told:
        raise ServerError(
            f"a server on Ray has no {', '.join(told)}",
            hint="leave it out, or --on ray; docs/ray.md says what each server has",
        )
