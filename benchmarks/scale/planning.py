"""What a measured replica means for many: tables, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.scale import events
from benchmarks.scale.checking import settings_of
from benchmarks.scale.events import Machine, Seen
from benchmarks.scale.replica import Settings
from benchmarks.scale.traffic import any_of, less_busy_of_two

USES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
RATES = (100, 1_000, 10_000, 100_000)
COUNTS = (10, 100, 1_000)
# Simulated at most, but 10 replicas at least; of more, each has its share of what is shared.
MOST_PER_S = 2_000
BALANCED = 20  # replicas behind the balancer that knows what is on its way
# docs/benchmarks.md, on other machines: a HAProxy that does nothing but hand on, and our
# supervisor, in seconds of a core per request; and what TorchServe's frontend can, on two cores.
BALANCER_S, SUPERVISOR_S, FRONTEND_PER_S = 35e-6, 13e-6, 7_000
ACTS: Mapping[str, Callable[[Machine, int, float], Seen]] = {
    "a zone of three dies, noticed after 2 s": partial(events.lost_zone, noticed_s=2),
    "the same, noticed after 40 s": partial(events.lost_zone, noticed_s=40),
    "10 s of requests in one": events.herd,
    "the load doubles, an autoscaler follows": events.doubled,
    "cold start under the whole load": events.cold,
    "deploy, one at a time": partial(events.deploy, share=0),
    "deploy, a quarter at a time": partial(events.deploy, share=0.25),
}


def machine_of(measured: Mapping[str, Any], gbit_s: float) -> Machine:
    """The replica that was measured, with a registry of so many Gbit/s."""
    settings = settings_of(measured)
    full = float(np.mean(measured["service"][str(settings.batch_size)])) / settings.batch_size
    return Machine(
        settings=settings,
        per_s=settings.cores * settings.speed / (full + rest_of(settings)),
        beyond=tuple(measured["beyond"]),
        start_s=float(np.median(measured["start_s"])),
        archive_bytes=measured["archive_bytes"],
        registry_bytes_s=gbit_s * 1e9 / 8,
    )


def rest_of(settings: Settings) -> float:
    """Seconds of a core for a request, of all that isn't a worker, when batches are full."""
    batch_s = settings.batch_s + settings.later_s
    return settings.request_s + batch_s / settings.batch_size


def tables(measured: Mapping[str, Any], gbit_s: float, use: float) -> Iterator[str]:
    """Lines of Markdown: the steady load, events at `use` of what replicas can, and limits."""
    machine = machine_of(measured, gbit_s)
    yield (
        f"One replica of `{measured['name']}`, on one core: at most {machine.per_s:.0f} answers/s, "
        f"ready after {machine.start_s:.0f} s. Measured at a load average of "
        f"{measured['load_average']:.1f}; a quiet machine has less than 1."
    )
    yield ""
    yield from steady(machine)
    yield ""
    yield from happenings(machine, use)
    yield ""
    yield from limits(machine, measured, use)


def steady(machine: Machine) -> Iterator[str]:
    """The p99 by use, and how many replicas a rate needs."""
    yield "| of what it can | p99 ms, one picked by chance | p99 ms, the less busy of two |"
    yield "|---|---|---|"
    found: dict[float, tuple[float, float]] = {}
    for use in USES:
        found[use] = (
            events.p99_of(machine, use, any_of, 1),
            events.p99_of(machine, use, less_busy_of_two, BALANCED),
        )
        yield f"| {use:.0%} | " + " | ".join(_ms(each) for each in found[use]) + " |"
    yield ""
    least = found[USES[0]][1]
    bounds = [least * factor for factor in (1.5, 2, 4)]
    yield "| requests/s | " + " | ".join(f"p99 under {each:.0f} ms" for each in bounds) + " |"
    yield "|---|" + "---|" * len(bounds)
    for rate in RATES:
        cells = [_needed(machine, rate, bound, found) for bound in bounds]
        yield f"| {rate:,} | " + " | ".join(cells) + " |"


def _needed(
    machine: Machine, rate: int, bound: float, found: Mapping[float, Sequence[float]]
) -> str:
    """Replicas picked by chance, and behind a balancer, that keep a bound at a rate."""
    cells = []
    for place in range(2):
        uses = [use for use, p99 in found.items() if p99[place] <= bound]
        cells.append(f"{math.ceil(rate / (max(uses) * machine.per_s)):,}" if uses else "none")
    return f"{cells[0]} by chance, {cells[1]} balanced"


def happenings(machine: Machine, use: float) -> Iterator[str]:
    """What each event does to 10, 100 and 1,000 replicas."""
    yield "| event | replicas | p99 ms before | worst second's | never answered | over after |"
    yield "|---|---|---|---|---|---|"
    for count in COUNTS:
        few = min(count, max(10, int(MOST_PER_S / (use * machine.per_s))))
        registry = machine.registry_bytes_s * few / count
        for name, act in ACTS.items():
            seen = act(replace(machine, registry_bytes_s=registry), few, use)
            over = "not seen" if math.isinf(seen.over_s) else f"{seen.over_s:.0f} s"
            yield (
                f"| {name} | {count:,} | {_ms(seen.calm_ms)} | {_ms(seen.worst_ms)} | "
                f"{seen.failed:.1%} | {over} |"
            )


def limits(machine: Machine, measured: Mapping[str, Any], use: float) -> Iterator[str]:
    """What each part of a server, and of many, can at most; the least comes first."""
    rate = use * machine.per_s
    parts: list[tuple[float, str, str]] = [
        (machine.per_s, "one replica's core, with its model", "measured"),
        (1 / rest_of(machine.settings), "a core of all but the model", "measured"),
        (FRONTEND_PER_S, "TorchServe's frontend, two cores", "docs/benchmarks.md"),
        (1 / BALANCER_S, "one core of a balancer before all replicas", "docs/benchmarks.md"),
        (1 / SUPERVISOR_S, "one server's supervisor, which reads the log", "docs/benchmarks.md"),
    ]  # fmt: skip
    yield f"| part | requests/s | replicas at {use:.0%} that this is | from |"
    yield "|---|---|---|---|"
    for most, name, source in sorted(parts):
        yield f"| {name} | {most:,.0f} | {most / rate:,.1f} | {source} |"
    yield ""
    yield "| replicas | all pulled and started | deploy, one at a time | a quarter at a time |"
    yield "|---|---|---|---|"
    for count in COUNTS:
        one = count * machine.ready_s(1)
        quarters = 4 * machine.ready_s(math.ceil(count / 4))
        cells = (_time(each) for each in (machine.ready_s(count), one, quarters))
        yield f"| {count:,} | " + " | ".join(cells) + " |"


def _ms(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "refused" if math.isinf(value) else f"{value:,.0f}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
