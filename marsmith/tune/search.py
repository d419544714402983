"""Successive halving: all are measured shortly, the better half for longer, until few are left."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from marsmith.bench.figures import Summary
from marsmith.errors import MeasurementError, ServerError

FINALISTS = 3
ROUNDS = 3
"""How often each finalist is measured, in turns."""
EQUAL = 1.03
"""Times the best: two runs of one setting differ by more."""
RESOLUTION = 0.05
"""A rate that is held is found to this share of it."""
LEAST_PER_S = 0.5
START = 0.75
"""Of a rate that can't be held: where the search for one that is begins. Most ways hold nearly what
clients that wait get."""


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
        unsent: the rate above, where nobody knows whether it is held, because the load's generator
            lagged; None where it was measured.
        under: a rate that is not held, and is all that was asked for; otherwise None.
    """

    per_s: float
    p99_ms: float | None
    unsent: float | None = None
    under: float | None = None

    def __str__(self) -> str:
        if self.under is not None:
            return f"< {self.under:.1f}"
        return "?" if self.unsent is not None and not self.per_s else f"{self.per_s:.1f}"


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
    tried: dict[str, Tried],
    in_time: Callable[[], bool] = lambda: True,
    begin: Callable[[Sequence[str]], None] = lambda names: None,
) -> None:
    """Find the settings with the most answers per second.

    Args:
        names: the settings; measured in turns.
        measure: runs a load on a setting for some seconds. One that raises `MeasurementError`, or
            `ServerError` as it doesn't start, is out.
        seconds: of a run in the first round; doubled in each round.
        tried: takes what was measured as each run ends, so that none is lost by an interruption.
        in_time: whether there is time left; where there isn't, the best so far are finalists.
        begin: is told as each round begins which settings it measures, in order.
    """

    def run(name: str, before: tuple[Summary, ...] = ()) -> None:
        try:
            tried[name] = Tried((*before, measure(name, seconds)))
        except (MeasurementError, ServerError) as error:
            tried[name] = Tried(before, out=error.message)

    tried.update((name, Tried()) for name in names)
    left = list(names)
    while len(left) > FINALISTS and in_time():
        begin(left)
        for name in left:
            # Only the latest round counts: runs of other lengths are no equals.
            if in_time():
                run(name)
            elif not tried[name].figures:
                tried[name] = Tried(out="there was no time to try it")
        left = [name for name in left if not tried[name].out]
        order = sorted(left, key=lambda name: (tried[name].answered, tried[name].per_s))[::-1]
        left = order[: max(FINALISTS, (len(order) + 1) // 2)]
        for name in order[len(left) :]:
            tried[name] = replace(tried[name], out=f"behind in a round of {seconds:g} s")
        seconds *= 2
    for name in left[FINALISTS:]:
        again = "measure it for longer" if tried[name].figures else "try it"
        tried[name] = replace(tried[name], out=f"there was no time to {again}")
    left = left[:FINALISTS]
    begin(left)
    for turn in range(ROUNDS):
        for name in left:
            if not tried[name].out and (in_time() or not tried[name].figures):
                run(name, tried[name].figures if turn else ())


def chosen(tried: Mapping[str, Tried], cost: Mapping[str, float]) -> Found:
    """Choose the finalist with the most answers per second; of equals, the least costly.

    Args:
        tried: by `halving`.
        cost: what each setting takes of the machine.
    """
    last = {name: each for name, each in tried.items() if not each.out and each.answered}
    if not last:
        failed = any(not each.answered for each in tried.values())
        why = "of all finalists, requests failed" if failed else "none could be measured to the end"
        return Found(tried, {}, None, sure=True, why=why)
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
    other: float = 0.0,
) -> Iterator[Held]:
    """Look for the highest rate at which 99 of 100 answers come in time, by bisection.

    A rate that the load's generator can't send in time isn't shown to be held: it is too high.

    Args:
        probe: runs an open loop at a rate.
        most: a rate that can't be held.
        p99_ms: the time.
        in_time: whether there is time left; where there isn't, the search ends.
        other: what another holds. Where no more than that is held, as far as is measured, it isn't
            asked what is.

    Yields:
        What is known after each run; once where it can't be more than the other's.
    """
    least = other * (1 + RESOLUTION)
    first = least or START * most
    low, high, known = 0.0, most, Held(0.0, None)
    if most <= least:
        yield replace(known, under=most)
    while high - low > RESOLUTION * high and high > max(LEAST_PER_S, least) and in_time():
        rate = first if high == most and not known.per_s else (low + high) / 2
        try:
            run = probe(rate)
        except MeasurementError:
            high, known = rate, replace(known, unsent=rate)
        else:
            if run.p99_ms <= p99_ms and not run.errors and not run.overloaded:
                low, known = rate, Held(rate, run.p99_ms, known.unsent)
            else:
                high, known = rate, replace(known, unsent=None)
        if least and not known.per_s and known.unsent is None:
            known = replace(known, under=rate)
        yield known
