from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from marsmith.serving.host import processes

# It has a child, and neither of them hears SIGTERM.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
print(flush=True)
time.sleep(3600)
"""

# It has a child that ends, and never asks for it.
NEGLIGENT = """
import os, time
child = os.fork() or os._exit(0)
print(child, flush=True)
time.sleep(3600)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a worker of the server with this temporary folder."""
    command = [sys.executable, "-c", STUBBORN, "--sock-name", f"{tmp_path}/.ts.sock.9000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        children = psutil.Process(process.pid).children()
        yield process
        process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def test_a_process_is_the_one_that_started_then(worker: subprocess.Popen[bytes]) -> None:
    began = psutil.Process(worker.pid).create_time()
    assert processes.find(worker.pid, began) is not None
    assert processes.find(worker.pid, began - 60) is None
    worker.kill()
    psutil.wait_procs([psutil.Process(worker.pid)])
    assert processes.find(worker.pid, began) is None


@pytest.mark.usefixtures("worker")
def test_a_worker_is_ended_with_its_children(tmp_path: Path) -> None:
    family = processes.family(tmp_path)
    assert len(family) == 2
    assert processes.family(tmp_path / "other") == []
    processes.end(tmp_path)
    assert processes.family(tmp_path) == []
    assert not any(processes.runs(each) for each in family)


def test_what_has_ended_and_nobody_asked_for_is_not_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", NEGLIGENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert processes.ended([child], 60.0)
        assert child.status() == psutil.STATUS_ZOMBIE  # it would have been waited for in vain
        assert not processes.ended([psutil.Process(parent.pid)], 0.0)
        parent.kill()


def test_nothing_has_ended_at_once() -> None:
    assert processes.ended([], 0.0)
