"""Workers as `marsmith serve` starts them: copies of a process that has imported torch once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from marsmith.harness.worker import Harness
from marsmith.serving.torchserve.launch import FORKED_WORKER, fork_server


@contextmanager
def forking(folder: Path, **environment: str) -> Iterator[Path]:
    """The socket of a fork server that works in a folder."""
    with (folder / "log").open("wb") as log:
        process = fork_server(folder / "forks", folder, {**os.environ, **environment}, log)
    try:
        yield folder / "forks"
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def instead_of_python(forks: Path) -> Path:
    """What starts a worker of a fork server where Python would start one of its own."""
    script = forks.with_name("python")
    worker = shlex.join([sys.executable, "-I", "-S", str(FORKED_WORKER), str(forks)])
    script.write_text(f'#!/bin/sh\nexec {worker} "$@"\n', encoding="utf-8")
    script.chmod(0o700)
    return script


def start_by(python: str | Path, patch: pytest.MonkeyPatch) -> None:
    """Let harnesses start their workers with something, where a test doesn't say with what."""
    defaults = {**(Harness.__init__.__kwdefaults__ or {}), "python": str(python)}
    patch.setattr(Harness.__init__, "__kwdefaults__", defaults)
