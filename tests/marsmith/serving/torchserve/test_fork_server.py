"""Workers as copies of a process that has imported torch: what Python itself would have started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from marsmith.serving.torchserve.fork_server import shadowed
from marsmith.serving.torchserve.launch import FORKED_WORKER, fork_server
from tests.support.forks import forking
from tests.support.waiting import wait_until

TELL = """
import json, os, sys
torch = "torch" in sys.modules
print(json.dumps({
    "arguments": sys.argv, "path": sys.path, "folder": os.getcwd(), "pid": os.getpid(),
    "name": __name__, "torch": torch, "own": os.environ.get("OWN"), "lost": os.environ.get("LOST"),
}), flush=True)
sys.stderr.write("to the errors\\n")
if "wait" in sys.argv:
    sys.stdin.read()
sys.exit(7)
"""
DRAW = "import numpy, random; print(numpy.random.random(), random.random())"


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a fork server."""
    with forking(tmp_path_factory.mktemp("f"), LOST="set where workers are forked") as found:
        yield found


def started(
    socket_: Path, folder: Path, *arguments: str, code: str = TELL, **environment: str
) -> subprocess.Popen[str]:
    """Start a worker, as TorchServe does."""
    script = folder / "model_service_worker.py"
    script.write_text(code)
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", FORKED_WORKER, socket_, script, *arguments],
        cwd=folder,
        env={**inherited, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_worker_is_what_python_would_have_started_and_has_torch(
    forks: Path, tmp_path: Path
) -> None:
    folders = os.pathsep.join(["elsewhere", str(tmp_path / "model")])
    process = started(forks, tmp_path, "--a", "b", PYTHONPATH=folders, OWN="its own")
    said, errors = process.communicate(timeout=120)
    told = json.loads(said)
    assert process.returncode == 7
    assert errors == "to the errors\n"
    assert told["torch"]
    assert told["pid"] != process.pid
    plain = subprocess.run(
        [sys.executable, tmp_path / "model_service_worker.py", "--a", "b"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": folders, "OWN": "its own"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=120,
    )
    differs = {"pid": None, "torch": None}
    assert {**told, **differs} == {**json.loads(plain.stdout), **differs}


def test_workers_draw_other_numbers(forks: Path, tmp_path: Path) -> None:
    drawn = [
        started(forks, tmp_path, code=DRAW).communicate(timeout=120)[0].split() for _ in range(2)
    ]
    assert len({*drawn[0], *drawn[1]}) == 4


def test_a_worker_ends_with_who_stands_in_for_it(forks: Path, tmp_path: Path) -> None:
    process = started(forks, tmp_path, "wait")
    assert process.stdout
    worker = json.loads(process.stdout.readline())["pid"]
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: not psutil.pid_exists(worker))


def test_who_stands_in_for_a_worker_ends_with_it(forks: Path, tmp_path: Path) -> None:
    process = started(forks, tmp_path, "wait")
    assert process.stdout
    os.kill(json.loads(process.stdout.readline())["pid"], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 256 - signal.SIGKILL


def test_what_asks_for_nothing_ends_nothing(forks: Path, tmp_path: Path) -> None:
    for asked in (b"", b"{", b"{}\n", b"nothing\n"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(forks))
            connection.sendall(asked)
    said, _ = started(forks, tmp_path).communicate(timeout=120)
    assert json.loads(said)["torch"]


@pytest.mark.parametrize("why", ["no server", "a module of its own", "another program"])
def test_otherwise_python_is_started(forks: Path, tmp_path: Path, why: str) -> None:
    path, environment = forks, {}
    if why == "no server":
        path = tmp_path / "forks"
    if why == "a module of its own":
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "torch.py").touch()
        environment = {"PYTHONPATH": str(tmp_path / "model")}
    process = started(path, tmp_path, **environment)
    if why == "another program":
        process.communicate(timeout=120)
        command = [sys.executable, "-IS", str(FORKED_WORKER), str(path), "-c", "print('plain')"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout == "plain\n"
        return
    said, _ = process.communicate(timeout=120)
    told = json.loads(said)
    assert process.returncode == 7
    assert not told["torch"]
    assert told["pid"] == process.pid


def test_workers_end_with_their_server(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        server = fork_server(tmp_path / "forks", tmp_path, dict(os.environ), log)
    process = started(tmp_path / "forks", tmp_path, "wait")
    assert process.stdout
    worker = json.loads(process.stdout.readline())["pid"]
    os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)
    process.communicate(timeout=60)
    assert process.returncode == 1
    wait_until(lambda: not psutil.pid_exists(worker))


def test_a_folder_that_all_search_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "os.py").touch()
    assert shadowed(str(tmp_path))
    assert not shadowed(os.pathsep.join([*sys.path, str(tmp_path / "none"), ""]))
