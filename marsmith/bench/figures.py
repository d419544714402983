"""What came of a run, in figures."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from marsmith.bench.sending import Run
from marsmith.errors import MeasurementError

LAG_S = 0.005
"""A generator that is later than this, and than a tenth of the latency, was no fair measure."""
LAG_SHARE = 0.1


@dataclass(frozen=True)
class Summary:
    """One run behind its warm-up.

    Latencies are from the moment a request was meant to be sent to its answer's last byte.

    Attributes:
        requests: how many were sent.
        seconds: how long they came.
        per_s: answers per second.
        p50_ms: half of the answers came within.
        p90_ms: nine of ten.
        p99_ms: 99 of 100.
        p999_ms: 999 of 1,000.
        within_per_s: answers per second that came within the time asked for; None: none was.
        first_p50_ms: half of the answers began within.
        first_p99_ms: 99 of 100 began within.
        tokens_per_s: of answers that say how many they have; None where none does.
        errors: how often each went wrong, by status or by what happened.
        lag_p99_ms: 99 of 100 requests were sent so late, at most.
        overloaded: whether too many requests waited, so that it was cut short.
    """

    requests: int
    seconds: float
    per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    within_per_s: float | None
    first_p50_ms: float
    first_p99_ms: float
    tokens_per_s: float | None
    errors: Mapping[str, int]
    lag_p99_ms: float
    overloaded: bool


def of(run: Run, warm_up_s: float, slo_ms: float | None = None) -> Summary:
    """Summarise a run.

    Args:
        run: of one request at least behind its warm-up.
        warm_up_s: what was meant to be sent before is not counted.
        slo_ms: the time within which an answer is of use.

    Raises:
        MeasurementError: nothing was answered, or the generator lagged so much that the latencies
            are its own.
    """
    counted = [each for each in run.exchanges if each.intended >= warm_up_s]
    good = [each for each in counted if not each.error]
    errors = dict(Counter(each.error for each in counted if each.error))
    if not good:
        said = ", ".join(f"{times} × {name}" for name, times in errors.items()) or "none was sent"
        raise MeasurementError(
            f"no request was answered behind the warm-up of {warm_up_s:g} s: {said}",
            "try one alone first, with `marsmith predict` or curl; or measure longer: --seconds",
        )
    seconds = max(each.done for each in counted) - warm_up_s
    latency = np.array([each.done - each.intended for each in good])
    first = np.array([each.first - each.intended for each in good])
    lag = float(np.quantile([each.sent - each.intended for each in counted], 0.99))
    p50, p90, p99, p999 = (float(each) for each in np.quantile(latency, [0.5, 0.9, 0.99, 0.999]))
    if lag > max(LAG_S, LAG_SHARE * p99):
        raise MeasurementError(
            f"the load's generator lagged: 1 in 100 requests was sent {lag * 1e3:.1f} ms late or "
            f"more, where 1 in 100 answers took {p99 * 1e3:.1f} ms",
            "leave it a core of its own, or ask from another machine",
        )
    tokens = sum(each.tokens for each in good)
    within = None if slo_ms is None else int((latency * 1e3 <= slo_ms).sum())
    return Summary(
        requests=len(counted),
        seconds=seconds,
        per_s=len(good) / seconds,
        p50_ms=p50 * 1e3,
        p90_ms=p90 * 1e3,
        p99_ms=p99 * 1e3,
        p999_ms=p999 * 1e3,
        within_per_s=None if within is None else within / seconds,
        first_p50_ms=float(np.median(first)) * 1e3,
        first_p99_ms=float(np.quantile(first, 0.99)) * 1e3,
        tokens_per_s=tokens / seconds if tokens else None,
        errors=errors,
        lag_p99_ms=lag * 1e3,
        overloaded=run.overloaded,
    )


@dataclass(frozen=True)
class Spread:
    """One figure of several runs: their median, and how far they lie apart."""

    median: float
    least: float
    most: float


def spread(runs: Sequence[Summary], figure: Callable[[Summary], float | None]) -> Spread | None:
    """A figure of several runs; None where they have none."""
    values = [value for each in runs if (value := figure(each)) is not None]
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values))
