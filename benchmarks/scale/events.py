"""What befalls many replicas: a lost zone, a herd, twice the load, a cold start, a deploy."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import simpy

from benchmarks.scale.replica import Settings, Work
from benchmarks.scale.traffic import Cluster, Pick, less_busy_of_two, poisson

CALM_S = 10.0  # before anything happens
TRIES, AGAIN_S = 3, 1.0  # as our client: Retry-After is a second at least
HERD_S = 10.0  # of requests, which all come within one second
ZONES = 3
SHORT = 5_000  # requests
# Kubernetes' defaults: the autoscaler looks every 15 s, at figures of the last 15 s; it may double
# what there is, or add four, each time.
LOOK_S, MORE = 15.0, 4
TARGET = 0.8  # of CPU; marsmith/deploy/kubernetes.py


@dataclass(frozen=True)
class Machine:
    """Replicas of one kind, and what becoming one takes.

    Attributes:
        settings: of each.
        per_s: requests per second that each can answer, when batches are full.
        beyond: seconds that no core took, as measured.
        start_s: from a machine that is there to a replica that is ready.
        archive_bytes: what each pulls before.
        registry_bytes_s: what the registry sends per second, to all together.
    """

    settings: Settings
    per_s: float
    beyond: tuple[float, ...]
    start_s: float
    archive_bytes: int
    registry_bytes_s: float

    def ready_s(self, count: int) -> float:
        """Seconds until so many that begin together are ready; they share the registry."""
        return count * self.archive_bytes / self.registry_bytes_s + self.start_s


@dataclass(frozen=True)
class Seen:
    """What clients saw of an event.

    Attributes:
        calm_ms: the p99 before it.
        worst_ms: the p99 of the worst second after it.
        failed: the share of what came after it that was never answered, for all its tries.
        over_s: seconds until the p99 of a second was below twice what it had been, and nothing
            failed; infinite where the simulation ended before.
    """

    calm_ms: float
    worst_ms: float
    failed: float
    over_s: float


class Scene:
    """Some replicas under a steady load, which run calmly before something happens.

    Args:
        machine: what they are.
        count: how many.
        use: of what they can, how much comes; of a cold start, of what they will be able to.
        pick: how the balancer picks.
    """

    def __init__(
        self, machine: Machine, count: int, use: float, pick: Pick = less_busy_of_two
    ) -> None:
        self.machine, self.count, self.use, self.pick = machine, count, use, pick
        self.chance = random.Random(0)  # noqa: S311 - no secret
        self.rate = use * count * machine.per_s
        self.env = simpy.Environment()
        self.cluster = Cluster(
            self.env, machine.settings, self.chance, pick, machine.beyond, TRIES, AGAIN_S
        )
        self.ends: list[tuple[float, str]] = []

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something later."""

        def happen() -> Work:
            yield self.env.timeout(seconds)
            act()

        self.env.process(happen())

    def load(self, rate: float, seconds: float) -> Work:
        """A process: requests at a rate, for a while from now."""
        start = self.env.now
        for arrival in poisson(rate, seconds, self.chance):
            yield self.env.timeout(start + arrival - self.env.now)
            self.send()

    def send(self) -> None:
        """Send one request, and note what becomes of it."""
        self.cluster.send(lambda request: self.ends.append((request.came, request.how)))

    def watch(self, seconds: float) -> Seen:
        """Let it run for a while after the event, under its load; then until all have ended."""
        self.env.process(self.load(self.rate, CALM_S + seconds))
        self.env.run(CALM_S + seconds + TRIES * 1.5 * AGAIN_S)
        tally = self.cluster.tally
        calm = tally.p99_ms(CALM_S / 2, CALM_S)
        came = np.array([at for at, _ in self.ends])
        bad = came[[how != "answered" for _, how in self.ends]]
        whole = range(math.floor(seconds))
        p99 = [tally.p99_ms(CALM_S + each, CALM_S + each + 1) for each in whole]
        failed = np.histogram(bad, CALM_S + np.arange(len(p99) + 1))[0]
        usual = calm
        if math.isnan(calm):  # nothing ran
            usual = p99_of(self.machine, self.use, self.pick, self.count, SHORT)
        ill = [each for each in whole if failed[each] or not p99[each] <= 2 * usual]
        over = ill[-1] + 1 if ill else 0
        return Seen(
            calm, float(np.nanmax(p99)), len(bad[bad >= CALM_S]) / max(1, (came >= CALM_S).sum()),
            math.inf if over >= len(p99) else float(over),
        )  # fmt: skip


def lost_zone(machine: Machine, count: int, use: float, noticed_s: float) -> Seen:
    """A third of the replicas dies at once; the balancer notices later, and none comes back."""
    scene = Scene(machine, count, use)
    all_ = scene.cluster.start(count)
    gone = all_[: math.ceil(count / ZONES)]

    def die() -> None:
        for each in gone:
            each.kill()

    def notice() -> None:
        scene.cluster.replicas[:] = all_[len(gone) :]

    scene.after(CALM_S, die)
    scene.after(CALM_S + noticed_s, notice)
    return scene.watch(noticed_s + 20)


def herd(machine: Machine, count: int, use: float) -> Seen:
    """Clients who could not reach anything for a while all come within a second."""
    scene = Scene(machine, count, use)
    scene.cluster.start(count)

    def come() -> None:
        scene.env.process(scene.load(scene.rate * HERD_S, 1.0))

    scene.after(CALM_S, come)
    return scene.watch(40)


def doubled(machine: Machine, count: int, use: float) -> Seen:
    """The load doubles, and the autoscaler follows."""
    scene = Scene(machine, count, use)
    scene.cluster.start(count)

    def more() -> None:
        scene.env.process(scene.load(scene.rate, 1e9))

    scene.after(CALM_S, more)
    scene.env.process(autoscaler(scene))
    return scene.watch(2 * LOOK_S + 2 * machine.ready_s(2 * count) + 20)


def autoscaler(scene: Scene) -> Work:
    """A process: a HorizontalPodAutoscaler that looks at the CPU."""
    replicas, wanted = scene.cluster.replicas, scene.count
    before = 0.0
    while True:
        yield scene.env.timeout(LOOK_S)
        spent = sum(each.busy_s for each in replicas)
        used = (spent - before) / LOOK_S / (len(replicas) * scene.machine.settings.cores)
        before = spent
        aim = math.ceil(len(replicas) * used / TARGET)
        new = min(aim, max(2 * wanted, wanted + MORE)) - wanted
        if new > 0 and wanted == len(replicas):
            wanted += new
            scene.after(scene.machine.ready_s(new), partial(scene.cluster.start, new))


def cold(machine: Machine, count: int, use: float) -> Seen:
    """Nothing runs; the whole load comes while the archives are pulled and the replicas start."""
    scene = Scene(machine, count, use)
    # The registry serves one after the other: the first are ready long before the last.
    for place in range(1, count + 1):
        scene.after(CALM_S + machine.ready_s(place), lambda: scene.cluster.start(1))
    return scene.watch(machine.ready_s(count) + 40)


def deploy(machine: Machine, count: int, use: float, share: float) -> Seen:
    """New replicas come, and old ones go, a share or one at a time: the first three steps.

    A replica that goes takes nothing more, and ends what it has.
    """
    scene = Scene(machine, count, use)
    old = scene.cluster.start(count)
    surge = max(1, int(share * count))
    each_s, steps = machine.ready_s(surge), min(3, math.ceil(count / surge))

    def step(place: int) -> None:
        some = old[place * surge : (place + 1) * surge]
        scene.cluster.start(len(some))
        for each in some:
            scene.cluster.replicas.remove(each)

    for place in range(steps):
        scene.after(CALM_S + (place + 1) * each_s, partial(step, place))
    return scene.watch(steps * each_s + 5)


def p99_of(machine: Machine, use: float, pick: Pick, count: int, requests: int = 20_000) -> float:
    """The p99 of a steady load, in milliseconds; infinite where some are refused."""
    scene = Scene(machine, count, use, pick=pick)
    scene.cluster.start(count)
    seconds = requests / scene.rate
    scene.env.process(scene.load(scene.rate, seconds))
    scene.env.run()
    ends = scene.cluster.tally.ends
    refused = ends["refused"] + ends["again"]
    return math.inf if refused else scene.cluster.tally.p99_ms(0.1 * seconds)
