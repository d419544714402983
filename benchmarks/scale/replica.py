"""One replica in simulated time: its queue, how batches are made, and the cores that they share."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import simpy

Service = Callable[[int, random.Random], float]
"""How long one core takes for a batch of so many requests, in seconds; drawn anew each time."""
Work = Generator[simpy.Event, object, None]


@dataclass(frozen=True)
class Settings:
    """What a replica is.

    Attributes:
        service: of a batch, in a worker.
        batch_size: of the largest batch.
        delay_s: how long a batch waits to be filled, from its first request on.
        workers: each answers a batch at a time.
        cores: of its machine, which workers share evenly.
        request_s: of a core, for each request, of all that isn't a worker.
        batch_s: the same for each batch, however many requests it has, before its answers.
        later_s: the same after its answers, which nobody waits for.
        limit: requests on their way at once; the front refuses more.
        speed: of its cores; less than 1 where others use them, too.
    """

    service: Service
    batch_size: int = 1
    delay_s: float = 0.0
    workers: int = 1
    cores: int = 1
    request_s: float = 0.0
    batch_s: float = 0.0
    later_s: float = 0.0
    limit: int = 1_000_000
    speed: float = 1.0


@dataclass(slots=True, eq=False)
class Request:
    """One request; times in simulated seconds.

    Attributes:
        came: when its client first sent it.
        ended: takes the request when it is "answered", "refused" or "lost".
        tries: how often it was sent.
        how: it ended; "" until then.
    """

    came: float
    ended: Callable[[Request], None]
    tries: int = 1
    how: str = ""

    def end(self, how: str) -> None:
        """Tell its client."""
        self.how = how
        self.ended(self)


class Cores:
    """Cores that all work on them shares evenly, each piece on one core at most.

    Args:
        env: the simulation.
        count: how many.
        speed: of each.
    """

    def __init__(self, env: simpy.Environment, count: int, speed: float = 1.0) -> None:
        self._env, self._count, self._speed = env, count, speed
        self._jobs: list[tuple[float, int, simpy.Event]] = []
        self._numbers = itertools.count()
        self._each = self._last = 0.0  # what each piece has had of a core since the start
        self._plans = 0

    def work(self, seconds: float) -> simpy.Event:
        """An event for when a piece of work is done that takes one core so long."""
        self._advance()
        done = self._env.event()
        heapq.heappush(self._jobs, (self._each + seconds, next(self._numbers), done))
        self._plan()
        return done

    def _rate(self) -> float:
        return self._speed * min(1.0, self._count / len(self._jobs))

    def _advance(self) -> None:
        if self._jobs:
            self._each += (self._env.now - self._last) * self._rate()
        self._last = self._env.now

    def _plan(self) -> None:
        self._plans += 1
        if self._jobs:
            left = max(0.0, self._jobs[0][0] - self._each) / self._rate()
            alarm = self._env.timeout(left, self._plans)
            alarm.callbacks.append(self._finish)

    def _finish(self, alarm: simpy.Event) -> None:
        if alarm.value != self._plans:
            return  # something came in between
        self._advance()
        first = self._jobs[0][0]
        while self._jobs and self._jobs[0][0] <= first:
            heapq.heappop(self._jobs)[2].succeed()
        self._plan()


@dataclass(eq=False)
class Replica:
    """A server: requests wait in line, and workers take batches of them, one after another.

    As TorchServe does it, one worker fills its batch at a time, and the others wait for that.
    """

    env: simpy.Environment
    settings: Settings
    chance: random.Random
    watch: Callable[[int], None] = lambda size: None
    waiting: deque[Request] = field(default_factory=deque)
    on_way: int = 0
    alive: bool = True
    busy_s: float = 0.0

    def __post_init__(self) -> None:
        self._cores = Cores(self.env, self.settings.cores, self.settings.speed)
        self._turn = simpy.Resource(self.env)
        self._came: simpy.Event | None = None
        self._served: dict[int, list[Request]] = {}
        for number in range(self.settings.workers):
            self.env.process(self._work(number))

    def offer(self, request: Request) -> None:
        """Take a request, or refuse it."""
        if not self.alive:
            request.end("lost")
        elif self.on_way >= self.settings.limit:
            request.end("refused")
        else:
            self.on_way += 1
            self.waiting.append(request)
            if self._came is not None:
                came, self._came = self._came, None
                came.succeed()

    def kill(self) -> None:
        """End it: what is on its way is lost."""
        self.alive = False
        lost = [*itertools.chain(*self._served.values()), *self.waiting]
        self.waiting.clear()
        for request in lost:
            request.end("lost")

    def _work(self, number: int) -> Work:
        settings = self.settings
        while True:
            batch: list[Request] = []
            self._served[number] = batch
            with self._turn.request() as turn:
                yield turn
                yield from self._fill(batch)
            self.watch(len(batch))
            seconds = settings.service(len(batch), self.chance)
            seconds += settings.batch_s + len(batch) * settings.request_s
            self.busy_s += seconds + settings.later_s
            yield self._cores.work(seconds)
            if not self.alive:
                return
            self._served[number] = []
            self.on_way -= len(batch)
            for request in batch:
                request.end("answered")
            if settings.later_s:
                self._cores.work(settings.later_s)

    def _fill(self, batch: list[Request]) -> Work:
        while not self.waiting:
            yield self._next()
        batch.append(self.waiting.popleft())
        late = self.env.timeout(self.settings.delay_s) if self.settings.delay_s else None
        while len(batch) < self.settings.batch_size:
            if self.waiting:
                batch.append(self.waiting.popleft())
            elif late is None or late.processed:
                return
            else:
                yield self._next() | late

    def _next(self) -> simpy.Event:
        self._came = self._came or self.env.event()
        return self._came
