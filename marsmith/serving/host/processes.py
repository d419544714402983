"""Find and end the processes of one server: HAProxy, Java and its workers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil

from marsmith.errors import ServerError

# psutil derives a start time from the boot time, which the clock's corrections move a little.
SAME_START_S = 2.0
KILL_ROUNDS = 5
KILL_S = 2.0
POLL_S = 0.02
PID_FILE = "haproxy.pid"


def runs(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and that nobody has asked for yet doesn't."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def ended(members: Sequence[psutil.Process], timeout_s: float) -> bool:
    """Wait until none of them runs, for at most so long.

    psutil's own waiting goes on until a process is asked for by its parent, which for an orphan
    may be a first process that never asks, as in many containers.

    Returns:
        Whether all have ended.
    """
    until = time.monotonic() + timeout_s
    while any(runs(each) for each in members):
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return True


def find(pid: int, create_time: float) -> psutil.Process | None:
    """Return the process of a pid, if it still is the one that started at that time."""
    try:
        process = psutil.Process(pid)
        started = process.create_time()
    except psutil.Error:
        return None
    return process if runs(process) and abs(started - create_time) <= SAME_START_S else None


def family(temp_dir: Path) -> list[psutil.Process]:
    """Return every process of the server with this temporary folder.

    HAProxy, Java, Ray and workers carry the folder on their command lines. That finds them when
    whoever started them is gone already, which asking for its children would not.
    """
    return _found(
        lambda words: (
            any(each == temp_dir or temp_dir in each.parents for each in _folders(words))
            or _is_haproxy(words, temp_dir)
            or _is_ray(words, temp_dir)
        )
    )


def torchserve(temp_dir: Path) -> list[psutil.Process]:
    """Return the Java process and the workers of the server with this temporary folder."""
    return _found(lambda words: temp_dir in _folders(words))


def _found(belongs: Callable[[list[str]], bool]) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            continue
        if belongs(process.info["cmdline"] or []):
            found[process.pid] = process
            try:
                found.update({child.pid: child for child in process.children(recursive=True)})
            except psutil.Error:
                continue
    return list(found.values())


def _folders(words: list[str]) -> list[Path]:
    """The temporary folders that a Java process, or a worker, has on its command line."""
    java = "-Djava.io.tmpdir="
    folders = [Path(word.removeprefix(java)) for word in words if word.startswith(java)]
    return folders + [Path(b).parent for a, b in pairwise(words) if a == "--sock-name"]


def _is_haproxy(words: list[str], temp_dir: Path) -> bool:
    return ("-p", f"{temp_dir}/{PID_FILE}") in pairwise(words)


def _is_ray(words: list[str], temp_dir: Path) -> bool:
    """Whether it is one of Ray's own; what runs on Ray are their children."""
    return any(word.partition("=")[2].startswith(f"{temp_dir}/ray") for word in words)


def end(temp_dir: Path, find: Callable[[Path], list[psutil.Process]] = family) -> None:
    """Kill a server's processes.

    Nothing is asked to stop: what is on its way is drained in the front, before this. Java itself
    finishes no request when it is asked, kills its workers, and takes seconds over it.

    Args:
        temp_dir: the server's temporary folder.
        find: finds what is to be ended.

    Raises:
        ServerError: something survived being killed.
    """
    members: list[psutil.Process] = []
    for _ in range(KILL_ROUNDS):
        members = find(temp_dir)
        if not members:
            return
        for process in members:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        ended(members, KILL_S)
    pids = ", ".join(str(process.pid) for process in members)
    raise ServerError(f"these processes can't be ended: {pids}")
