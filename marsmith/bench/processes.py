"""What a load costs the processes of a server, and the generator itself."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from marsmith.serving.host.processes import family


@dataclass(frozen=True)
class Cost:
    """One process over a run.

    Attributes:
        name: "haproxy", "java", "worker", or "this load" for the generator.
        pid: its number.
        cores: CPU seconds per second, of all its threads.
        memory_mb: its share of the memory (PSS where that can be read, else RSS), at the end.
    """

    name: str
    pid: int
    cores: float
    memory_mb: float


class Watch:
    """Notes the CPU time of a server's processes, and what they took by the end.

    Args:
        temp_dir: of a server of ours; None: the generator alone is watched.
    """

    def __init__(self, temp_dir: Path | None) -> None:
        found = family(temp_dir) if temp_dir else []
        self._processes = [psutil.Process(os.getpid()), *found]
        self._before = {each.pid: _cpu_s(each) for each in self._processes}

    def costs(self, seconds: float) -> list[Cost]:
        """What each process took since then.

        Args:
            seconds: how long that was.
        """
        costs = []
        for each in self._processes:
            with suppress(psutil.Error):  # it has ended
                spent = _cpu_s(each) - self._before[each.pid]
                costs.append(Cost(_name(each), each.pid, spent / seconds, _memory_mb(each)))
        return costs


def _name(process: psutil.Process) -> str:
    if process.pid == os.getpid():
        return "this load"
    name = process.name()
    return "worker" if name.startswith(("python", "pt_main")) else name


def _cpu_s(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        spent = process.cpu_times()
        return float(spent.user + spent.system)
    return 0.0


def _memory_mb(process: psutil.Process) -> float:
    try:
        memory = process.memory_full_info()
    except psutil.AccessDenied:
        return float(process.memory_info().rss) / 2**20
    return float(getattr(memory, "pss", memory.rss)) / 2**20
