from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsmith.bench import figures
from marsmith.bench.sending import Outcome, Run
from marsmith.errors import MeasurementError


def exchange(
    at: float, took: float, *, late: float = 0.0, error: str = "", tokens: int = 0
) -> Outcome:
    return Outcome(at, at + late, at + took / 2, at + took, error, tokens)


@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=200), st.floats(0.1, 5000))
def test_latencies_and_goodput_are_those_of_the_answers(seconds: list[float], slo: float) -> None:
    run = Run([exchange(1 + place / 100, each) for place, each in enumerate(seconds)])
    found = figures.of(run, 1, slo)
    milliseconds = np.array([each.done - each.intended for each in run.exchanges]) * 1e3
    assert found.p50_ms == pytest.approx(np.median(milliseconds))
    assert found.p50_ms <= found.p90_ms <= found.p99_ms <= found.p999_ms <= max(milliseconds) + 1e-6
    assert found.per_s * found.seconds == pytest.approx(len(seconds))
    assert found.within_per_s is not None
    assert found.within_per_s * found.seconds == pytest.approx((milliseconds <= slo).sum())


def test_what_was_meant_to_be_sent_in_the_warm_up_is_not_counted() -> None:
    run = Run([exchange(0.5, 9.0), exchange(1.9, 9.0), exchange(2.0, 1.0), exchange(3.0, 1.0)])
    found = figures.of(run, 2)
    assert (found.requests, found.p999_ms, found.seconds) == (2, 1000, 2)


def test_failures_are_counted_by_kind_and_are_no_answers() -> None:
    run = Run([exchange(0, 1, tokens=7), exchange(0, 9, error="503"), exchange(0, 9, error="503")])
    found = figures.of(run, 0)
    assert (found.errors, found.p999_ms, found.tokens_per_s) == ({"503": 2}, 1000, 7 / 9)


def test_a_latency_counts_from_when_a_request_was_due() -> None:
    late = [exchange(place / 10, 2.0, late=0.1) for place in range(10)]
    assert figures.of(Run(late), 0).p50_ms == pytest.approx(2000)


def test_a_stall_of_the_generator_is_refused() -> None:
    fair = [exchange(place / 10, 0.02) for place in range(100)]
    stalled = [exchange(place / 10, 0.52, late=0.5) for place in range(100, 105)]
    figures.of(Run(fair), 0)
    with pytest.raises(MeasurementError, match=r"generator lagged: .* 500\.0 ms late"):
        figures.of(Run(fair + stalled), 0)


def test_where_nothing_was_answered_there_are_no_figures() -> None:
    with pytest.raises(MeasurementError, match="3 × 415"):
        figures.of(Run([exchange(0, 1, error="415")] * 3), 0)
