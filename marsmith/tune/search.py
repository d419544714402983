"""Successive halving: all are measured shortly, the better half for longer, until few are left."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from marsmith.bench.figures import Summary

S = TypeVar("S")
FINALISTS = 3
ROUNDS = 3
"""How often each finalist is measured, in turns."""
EQUAL = 1.03
"""Times the best: two runs of one setting differ by more."""
RESOLUTION = 0.05
"""A rate that is held is found to this share of it."""
LEAST_PER_S = 0.5


@dataclass(frozen=True)
class Tried:
    """What was measured of one setting.

    Attributes:
        figures: of each run, in order.
        out: why it was measured no longer; "" for a finalist.
    """

    figures: tuple[Summary, ...] = ()
    out: str = ""

    @property
    def per_s(self) -> float:
        """Answers per second: the median of its runs."""
        return statistics.median(each.per_s for each in self.figures)

    @property
    def p99_ms(self) -> float:
        """The median of its runs' 99th percentiles."""
        return statistics.median(each.p99_ms for each in self.figures)

    def spread(self) -> float:
        """How far its runs lie apart, as a share of their median."""
        rates = [each.per_s for each in self.figures]
        return (max(rates) - min(rates)) / self.per_s

    @property
    def answered(self) -> bool:
        """Whether nothing failed."""
        return not any(each.errors for each in self.figures)


@dataclass(frozen=True)
class Held:
    """The rate that a setting holds.

    Attributes:
        per_s: requests per second, as clients come that know nothing of each other; 0: not even
            the least that was tried.
        p99_ms: of the answers at that rate; None where there is no such rate.
    """

    per_s: float
    p99_ms: float | None


@dataclass(frozen=True)
class Found:
    """What came of a search.

    Attributes:
        tried: what was measured, by setting.
        held: the rates that finalists hold, where that was asked for.
        best: the setting that was chosen; None: none holds the bound.
        sure: whether runs of the best ones lie closer together than it is ahead of the next.
        why: the choice, in words.
    """

    tried: Mapping[str, Tried]
    held: Mapping[str, Held]
    best: str | None
    sure: bool
    why: str


def halving(
    names: Sequence[str],
    measure: Callable[[str, float], Summary],
    seconds: float,
    in_time: Callable[[], bool] = lambda: True,
) -> dict[str, Tried]:
    """Find the settings with the most answers per second.

    Args:
        names: the settings; measured in turns.
        measure: runs a load on a setting for some seconds.
        seconds: of a run in the first round; doubled in each round.
        in_time: whether there is time left; where there isn't, the best so far are finalists.

    Returns:
        What was measured of each.
    """
    tried: dict[str, Tried] = {name: Tried() for name in names}
    left = list(names)
    while len(left) > FINALISTS and in_time():
        for name in left:
            # Only the latest round counts: runs of other lengths are no equals.
            if in_time():
                tried[name] = Tried((measure(name, seconds),))
            elif not tried[name].figures:
                tried[name] = Tried(out="there was no time to try it")
        left = [name for name in left if not tried[name].out]
        order = sorted(left, key=lambda name: (tried[name].answered, tried[name].per_s))[::-1]
        left = order[: max(FINALISTS, (len(order) + 1) // 2)]
        for name in order[len(left) :]:
            tried[name] = replace(tried[name], out=f"behind in a round of {seconds:g} s")
        seconds *= 2
    for name in left[FINALISTS:]:
        tried[name] = Tried(out="there was no time to try it")
    left = left[:FINALISTS]
    for name in left:
        tried[name] = Tried()
    for _ in range(ROUNDS):
        for name in left:
            if in_time() or not tried[name].figures:
                tried[name] = Tried((*tried[name].figures, measure(name, seconds)))
    return tried


def chosen(tried: Mapping[str, Tried], cost: Mapping[str, float]) -> Found:
    """Choose the finalist with the most answers per second; of equals, the least costly.

    Args:
        tried: by `halving`.
        cost: what each setting takes of the machine.
    """
    last = {name: each for name, each in tried.items() if not each.out and each.answered}
    if not last:
        return Found(tried, {}, None, sure=True, why="of all finalists, requests failed")
    most = max(each.per_s for each in last.values())
    equals = [name for name, each in last.items() if each.per_s * EQUAL >= most]
    best = min(equals, key=lambda name: (cost[name], -last[name].per_s))
    others = [each.per_s for name, each in last.items() if name not in equals]
    ahead = 1 - max(others) / last[best].per_s if others else 1.0
    spread = max(each.spread() for each in last.values())
    repeated = all(len(each.figures) > 1 for each in last.values())
    why = "the most answers per second"
    if len(equals) > 1:
        why = f"within {EQUAL - 1:.0%} of the most answers per second, and takes the least"
    return Found(tried, {}, best, repeated and spread <= max(ahead, EQUAL - 1), why)


def held(
    probe: Callable[[float], Summary],
    most: float,
    p99_ms: float,
    in_time: Callable[[], bool] = lambda: True,
) -> Held:
    """The highest rate at which 99 of 100 answers come in time, by bisection.

    Args:
        probe: runs an open loop at a rate.
        most: a rate that can't be held.
        p99_ms: the time.
        in_time: whether there is time left; where there isn't, the highest so far is taken.
    """
    low, high, known = 0.0, most, Held(0.0, None)
    while high - low > RESOLUTION * high and high > LEAST_PER_S and in_time():
        rate = (low + high) / 2
        run = probe(rate)
        if run.p99_ms <= p99_ms and not run.errors and not run.overloaded:
            low, known = rate, Held(rate, run.p99_ms)
        else:
            high = rate
    return known
