"""A server that a command starts, while it is measured."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


@contextmanager
def running(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """A server; ended with all its processes, and shown if it failed."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            yield
        except BaseException:
            log.seek(0)
            print(log.read()[:3000], file=sys.stderr)
            raise
        finally:
            tree = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for each in tree:
                with suppress(psutil.NoSuchProcess):  # it has ended with its parent
                    each.kill()
            process.wait()
