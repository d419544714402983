"""Runs that were measured, simulated with the same arrivals, and compared."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import simpy

from benchmarks.scale.replica import Service, Settings
from benchmarks.scale.traffic import Cluster
from marsmith.bench.arrivals import poisson
from marsmith.bench.measure import Traffic

PER_S_WITHIN, P99_WITHIN = 0.15, 0.25
TIMES = 10  # each run is simulated so often; medians count


class Simulated(NamedTuple):
    """Figures of a run as it was simulated; as `measuring.Figures`."""

    per_s: float
    per_batch: float
    p50_ms: float
    p99_ms: float


def service_of(samples: Mapping[str, Sequence[float]]) -> Service:
    """Batches as they were measured: of a size between, in proportion between its neighbours."""
    sizes = sorted(int(size) for size in samples)
    means = [float(np.mean(samples[str(size)])) for size in sizes]
    factors = [np.asarray(samples[str(s)]) / m for s, m in zip(sizes, means, strict=True)]
    by_size = [0.0, *np.interp(range(1, sizes[-1] + 1), sizes, means)]
    nearest = [0, *(int(np.abs(np.array(sizes) - n).argmin()) for n in range(1, sizes[-1] + 1))]

    def draw(size: int, chance: random.Random) -> float:
        return float(by_size[size] * chance.choice(factors[nearest[size]]))

    return draw


def settings_of(measured: Mapping[str, Any], client_per_s: float = 0.0) -> Settings:
    """One replica, whose core a client shares that sends so many requests per second."""
    return Settings(
        service_of(measured["service"]),
        speed=1 - measured["idle_share"] - client_per_s * measured["client_s"],
        **measured["settings"],
    )


def simulate(measured: Mapping[str, Any], run: Mapping[str, Any], seed: int) -> Simulated:
    """One run, simulated."""
    env, chance = simpy.Environment(), random.Random(seed)  # noqa: S311 - no secret
    seconds, warm = run["seconds"], Traffic(seconds=run["seconds"]).warm_up_s
    clusters: list[Cluster] = []
    sizes: list[int] = []
    for place, arrivals_seed in enumerate(run["seeds"]):
        beside = run["per_s"] if place else 0.0  # the second core is the client's, too
        own = settings_of(measured, beside)
        cluster = Cluster(env, own, chance, beyond=measured["beyond"])
        for replica in cluster.start(1):
            replica.watch = sizes.append
        clusters.append(cluster)
        if run["rate"]:
            arrivals = poisson(run["rate"], seconds, arrivals_seed)
            env.process(cluster.open_loop(float(each) for each in arrivals))
        for _ in range(run["connections"]):
            env.process(cluster.closed_loop())
    env.run(None if run["rate"] else seconds)
    took = np.concatenate([each.tally.latencies(warm) for each in clusters])
    length = max(seconds, env.now) - warm
    p50, p99 = (float(each) * 1e3 for each in np.quantile(took, [0.5, 0.99]))
    return Simulated(len(took) / length, float(np.mean(sizes)), p50, p99)


def compare(measured: Mapping[str, Any]) -> tuple[list[str], bool]:
    """A table of what was measured and predicted, and whether all is within its bounds.

    A p99 is only compared where requests came at a rate: clients that wait for each other make
    the load themselves. Behind the predicted p99 is how far it goes by chance alone: the least and
    the most of simulations with the same arrivals. Where that is wider than the bound, so is what
    is measured, and the runs were too short to judge.
    """
    lines = [
        "| replicas | load on each | answers/s | predicted | per batch | predicted | p50 ms | "
        "predicted | p99 ms | predicted | off |",
        "|---" * 11 + "|",
    ]
    good = True
    for run in measured["runs"]:
        found = [simulate(measured, run, seed) for seed in range(TIMES)]
        middle = Simulated(*(float(np.median(each)) for each in zip(*found, strict=True)))
        off, late = middle.per_s / run["per_s"] - 1, middle.p99_ms / run["p99_ms"] - 1
        fair = bool(run["rate"])
        good &= abs(off) <= PER_S_WITHIN and (not fair or abs(late) <= P99_WITHIN)
        load = f"{run['rate']:.1f}/s" if fair else f"{run['connections']} connections"
        p99s = [each.p99_ms for each in found]
        cells = [f"{run[name]:.1f} | {getattr(middle, name):.1f}" for name in Simulated._fields]
        lines.append(
            f"| {run['replicas']} | {load} | {' | '.join(cells)} ({min(p99s):.0f} to "
            f"{max(p99s):.0f}) | {late:+.0%}{'' if fair else ' (not judged)'} |"
        )
    return lines, good
