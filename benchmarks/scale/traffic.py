"""What comes to replicas, and what becomes of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import simpy
from numpy.typing import NDArray

from benchmarks.scale.replica import Replica, Request, Settings, Work

Pick = Callable[[Sequence[Replica], random.Random], Replica]


def any_of(replicas: Sequence[Replica], chance: random.Random) -> Replica:
    """One by chance, as a Kubernetes Service picks."""
    return replicas[int(chance.random() * len(replicas))]


def less_busy_of_two(replicas: Sequence[Replica], chance: random.Random) -> Replica:
    """Of two by chance the one with less on its way: HAProxy's `balance random(2)`."""
    one, other = any_of(replicas, chance), any_of(replicas, chance)
    return one if one.on_way <= other.on_way else other


@dataclass
class Tally:
    """What became of requests: when each came, and how long its answer took, in seconds."""

    came: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    sent: int = 0
    ends: Counter[str] = field(default_factory=Counter)

    def latencies(self, since: float = 0.0, until: float = np.inf) -> NDArray[np.float64]:
        """Of the answers to what came in a while."""
        came = np.asarray(self.came)
        return np.asarray(self.took)[(came >= since) & (came < until)]

    def p99_ms(self, since: float = 0.0, until: float = np.inf) -> float:
        """99 of 100 answers to what came in a while took no longer; NaN where there are none."""
        found = self.latencies(since, until)
        return float(np.quantile(found, 0.99)) * 1e3 if len(found) else np.nan


@dataclass(eq=False)
class Cluster:
    """Replicas behind a balancer, and clients that come again.

    Attributes:
        settings: of every replica.
        replicas: those that the balancer knows; whoever starts or ends one changes this list.
        pick: how the balancer picks.
        beyond: seconds of an answer that no core of the replica's took, one by chance each time.
        tries: how often a client sends a request, at most.
        again_s: what it waits before it sends it again, and up to half of that more.
        tally: what became of all requests.
    """

    env: simpy.Environment
    settings: Settings
    chance: random.Random
    pick: Pick = any_of
    beyond: Sequence[float] = (0.0,)
    tries: int = 1
    again_s: float = 1.0
    replicas: list[Replica] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def start(self, count: int) -> list[Replica]:
        """Start replicas, ready at once."""
        made = [Replica(self.env, self.settings, self.chance) for _ in range(count)]
        self.replicas += made
        return made

    def send(self, told: Callable[[Request], object] | None = None) -> None:
        """Send one request; at its very end, its client is told."""
        self.tally.sent += 1

        def ended(request: Request) -> None:
            if request.how != "answered" and request.tries < self.tries:
                self.tally.ends["again"] += 1
                request.tries += 1
                pause = self.again_s * (1 + self.chance.random() / 2)
                self.env.timeout(pause).callbacks.append(lambda _: self._offer(request))
                return
            self.tally.ends[request.how] += 1
            if request.how == "answered":
                extra = self.chance.choice(self.beyond)
                self.tally.came.append(request.came)
                self.tally.took.append(self.env.now - request.came + extra)
            if told:
                told(request)

        self._offer(Request(self.env.now, ended))

    def _offer(self, request: Request) -> None:
        if self.replicas:
            self.pick(self.replicas, self.chance).offer(request)
        else:
            request.end("lost")

    def open_loop(self, arrivals: Iterable[float]) -> Work:
        """A process: requests at their times, in seconds, ascending."""
        for arrival in arrivals:
            yield self.env.timeout(arrival - self.env.now)
            self.send()

    def closed_loop(self) -> Work:
        """A process: one client that asks, waits for the answer, and asks again."""
        while True:
            ended = self.env.event()
            self.send(ended.succeed)
            yield ended
            yield self.env.timeout(self.chance.choice(self.beyond))


def poisson(rate: float, seconds: float, chance: random.Random) -> Iterable[float]:
    """Arrivals of clients that know nothing of each other; as `marsmith.bench`, but one by one."""
    now = chance.expovariate(rate)
    while now < seconds:
        yield now
        now += chance.expovariate(rate)
