"""Measure a server under a load: runs, figures, and what the processes took."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from marsmith.bench import arrivals, figures, sending
from marsmith.bench.figures import Summary
from marsmith.bench.processes import Cost, Watch
from marsmith.bench.sending import Run
from marsmith.bench.target import Endpoint

WARM_UP_S, WARM_UP_SHARE = 2.0, 0.2


@dataclass(frozen=True)
class Traffic:
    """How requests come: at a rate, as recorded, or from so many connections.

    Attributes:
        rate: requests per second in the mean, as clients that know nothing of each other.
        trace: seconds from the start, instead of a rate.
        connections: how many clients ask one after the other; where neither of those is.
        seconds: how long each run takes; a trace has its own end.
        slo_ms: the time within which an answer is of use.
        timeout_s: for each answer.
    """

    rate: float | None = None
    trace: arrivals.Seconds | None = None
    connections: int = 16
    seconds: float = 10.0
    slo_ms: float | None = None
    timeout_s: float = 60.0

    @property
    def warm_up_s(self) -> float:
        """What comes before it counts for nothing: two seconds, or a fifth of a shorter run."""
        length = self.seconds if self.trace is None else float(self.trace[-1])
        return min(WARM_UP_S, WARM_UP_SHARE * length)

    def words(self) -> str:
        """How requests come, in words."""
        if self.trace is not None:
            return f"{len(self.trace)} requests as recorded"
        if self.rate is not None:
            return f"{self.rate:g} requests/s, Poisson, for {self.seconds:g} s"
        return f"{self.connections} connections, one request after another, for {self.seconds:g} s"


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        url: what was asked.
        bodies: what was sent, in words.
        load: how requests came, in words.
        warm_up_s: what was not counted at the start of each run.
        slo_ms: the time within which an answer is of use.
        runs: the figures of each.
        costs: of the processes in the last run.
        busy: the machine's load average before the first run, in processes that wanted a core.
    """

    url: str
    bodies: str
    load: str
    warm_up_s: float
    slo_ms: float | None
    runs: tuple[Summary, ...]
    costs: tuple[Cost, ...]
    busy: float


def measure(
    target: Endpoint,
    load: Traffic,
    repeats: int = 3,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Measured, list[Run]]:
    """Put a load on a server, some times over.

    Args:
        target: where to.
        load: how requests come.
        repeats: how many runs; each has arrivals of its own.
        seed: of the first run's arrivals; the next has the next.
        say: takes one line as each run begins.

    Returns:
        The figures, and the runs themselves.

    Raises:
        MeasurementError: nothing was answered, or the generator lagged.
        UnsupportedError: aiohttp is not installed.
    """
    runs: list[Run] = []
    found: list[Summary] = []
    costs: Sequence[Cost] = ()
    busy = os.getloadavg()[0]
    for number in range(repeats):
        say(f"run {number + 1}/{repeats}: {load.words()}")
        watch, began = Watch(target.temp_dir), time.perf_counter()
        run = once(target, load, seed + number)
        costs = watch.costs(time.perf_counter() - began)
        runs.append(run)
        found.append(figures.of(run, load.warm_up_s, load.slo_ms))
        if run.overloaded:
            break
    measured = Measured(
        target.url, f"{len(target.bodies)} bodies: {target.what}", load.words(), load.warm_up_s,
        load.slo_ms, tuple(found), tuple(costs), busy,
    )  # fmt: skip
    return measured, runs


def once(target: Endpoint, load: Traffic, seed: int = 0) -> Run:
    """Put a load on a server once.

    Args:
        target: where to.
        load: how requests come.
        seed: of the arrivals.
    """
    if load.trace is not None:
        return sending.open_loop(target, load.trace, load.timeout_s)
    if load.rate is not None:
        times = arrivals.poisson(load.rate, load.seconds, seed)
        return sending.open_loop(target, times, load.timeout_s)
    return sending.closed_loop(target, load.connections, load.seconds, load.timeout_s)
