"""The simulator against what queueing theory knows exactly."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence

import pytest

simpy = pytest.importorskip("simpy")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from benchmarks.scale.replica import Cores, Replica, Request, Settings  # noqa: E402
from benchmarks.scale.traffic import Cluster, less_busy_of_two, poisson  # noqa: E402

MEAN_S = 0.01
GAPS = st.lists(st.floats(0, 3), min_size=1, max_size=30)


def exponential(size: int, chance: random.Random) -> float:
    return chance.expovariate(1 / MEAN_S)


def constant(size: int, chance: random.Random) -> float:
    return MEAN_S


def ran(arrivals: Sequence[float], given: Settings, replicas: int = 1, **more: object) -> Cluster:
    env = simpy.Environment()
    cluster = Cluster(env, given, random.Random(7), **more)  # type: ignore[arg-type]
    cluster.start(replicas)
    env.process(cluster.open_loop(arrivals))
    env.run()
    return cluster


def mean_wait(rate: float, given: Settings, customers: int = 12_000) -> float:
    cluster = ran([*poisson(rate, customers / rate, random.Random(2))], given)
    return float(cluster.tally.latencies().mean()) - MEAN_S


def erlang_c(servers: int, load: float) -> float:
    """The chance to wait, of M/M/c."""
    offered = servers * load
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) / (1 - load)
    return last / (sum(terms) + last)


def test_mean_waits_are_those_of_queueing_theory() -> None:
    load = 0.6
    rate, one = load / MEAN_S, load / (1 - load) * MEAN_S
    three = Settings(exponential, workers=3, cores=3)
    waits = erlang_c(3, load)
    assert mean_wait(rate, Settings(exponential)) == pytest.approx(one, rel=0.12)
    assert mean_wait(rate, Settings(constant)) == pytest.approx(one / 2, rel=0.12)
    # Processor sharing: with room for all, the mean stay is M/M/1's, whatever the work.
    assert mean_wait(rate, Settings(constant, workers=40)) == pytest.approx(one, rel=0.12)
    known = waits * MEAN_S / (3 * (1 - load))
    assert mean_wait(3 * rate, three, 30_000) == pytest.approx(known, rel=0.12)


@given(
    gaps=GAPS,
    services=st.lists(st.floats(0.01, 3), min_size=30, max_size=30),
    workers=st.integers(1, 4),
)
@settings(max_examples=50, deadline=None)
def test_whoever_comes_first_gets_the_first_free_worker(
    gaps: list[float], services: list[float], workers: int
) -> None:
    times = iter(services)
    arrivals = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    given = Settings(lambda size, chance: next(times), workers=workers, cores=workers)
    found = ran(arrivals, given).tally
    free, known = [0.0] * workers, []
    for arrival, service in zip(arrivals, services, strict=False):
        end = max(heapq.heappop(free), arrival) + service
        heapq.heappush(free, end)
        known.append((arrival, end - arrival))
    assert sorted(zip(found.came, found.took, strict=True)) == [
        pytest.approx(each) for each in sorted(known)
    ]


@given(
    gaps=GAPS,
    batch_size=st.integers(1, 5),
    delay_s=st.sampled_from([0.0, 0.2, 2.0]),
    workers=st.integers(1, 3),
    limit=st.integers(1, 10),
    replicas=st.integers(1, 3),
    tries=st.integers(1, 3),
    stop=st.floats(0.1, 20),
    dies=st.floats(0, 20),
)
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_from_sight(
    gaps: list[float], batch_size: int, delay_s: float, workers: int, limit: int, replicas: int,
    tries: int, stop: float, dies: float,
) -> None:  # fmt: skip
    env = simpy.Environment()
    sizes: list[int] = []
    given = Settings(
        lambda size, chance: 0.5 + 0.1 * size, batch_size, delay_s, workers, limit=limit
    )
    cluster = Cluster(env, given, random.Random(1), less_busy_of_two, tries=tries)
    for each in cluster.start(replicas):
        each.watch = sizes.append
    first = cluster.replicas[0]
    env.timeout(dies).callbacks.append(lambda _: first.kill())
    env.process(cluster.open_loop([sum(gaps[: i + 1]) for i in range(len(gaps))]))
    for end in (stop, None):
        env.run(end)
        ends = cluster.tally.ends
        inside = sum(each.on_way for each in cluster.replicas if each.alive)
        ended = ends["answered"] + ends["refused"] + ends["lost"]
        assert all(each.on_way <= limit for each in cluster.replicas)
        assert 0 <= cluster.tally.sent - ended - inside <= ends["again"]
    assert cluster.tally.sent == len(gaps) == ended  # at the end, nobody waits any more
    assert max(sizes, default=1) <= batch_size


def test_a_batch_waits_for_company_no_longer_than_it_may() -> None:
    given = Settings(lambda size, chance: 1.0, batch_size=3, delay_s=0.5)
    assert ran([0.0], given).tally.took == pytest.approx([1.5])
    assert ran([0.0, 0.4, 0.6], given).tally.took == pytest.approx([1.5, 1.1, 2.4])
    assert ran([0.0, 0.1, 0.2], given).tally.took == pytest.approx([1.2, 1.1, 1.0])


def test_what_a_batch_costs_beside_its_worker_is_its_core_s_before_and_after_its_answers() -> None:
    given = Settings(lambda size, chance: 1.0, 2, delay_s=0.2, request_s=0.1, batch_s=0.5)
    assert ran([0.0, 0.0, 0.0], given).tally.took == pytest.approx([1.7, 1.7, 3.5])
    later = Settings(lambda size, chance: 1.0, later_s=0.5)
    # The second begins with the first's end, and shares its core for twice a half.
    assert ran([0.0, 0.0], later).tally.took == pytest.approx([1.0, 2.5])


def test_two_workers_on_one_core_take_twice_as_long() -> None:
    env = simpy.Environment()
    cores = Cores(env, 1)
    ends: list[float] = []
    for start, seconds in [(0.0, 2.0), (1.0, 1.0)]:
        env.timeout(start).callbacks.append(
            lambda _, s=seconds: cores.work(s).callbacks.append(lambda _: ends.append(env.now))
        )
    env.run()
    assert ends == pytest.approx([3.0, 3.0])


def test_the_dead_answer_nobody() -> None:
    env = simpy.Environment()
    replica = Replica(env, Settings(constant), random.Random(1))
    ended: list[str] = []
    for _ in range(3):
        replica.offer(Request(0.0, lambda request: ended.append(request.how)))
    env.timeout(1.5 * MEAN_S).callbacks.append(lambda _: replica.kill())
    env.run()
    replica.offer(Request(env.now, lambda request: ended.append(request.how)))
    assert ended == ["answered", "lost", "lost", "lost"]
