from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsmith.bench.arrivals import poisson, recorded
from marsmith.errors import MarsmithError


@given(st.floats(0.5, 2000), st.floats(0.1, 20), st.integers(0, 2**32))
def test_they_come_in_order_at_the_rate_and_again_for_the_same_seed(
    rate: float, seconds: float, seed: int
) -> None:
    times = poisson(rate, seconds, seed)
    assert (np.diff(times) >= 0).all()
    assert not len(times) or 0 <= times[0] <= times[-1] < seconds
    mean = rate * seconds
    assert abs(len(times) - mean) <= 8 * mean**0.5 + 8
    assert (times == poisson(rate, seconds, seed)).all()


def test_gaps_are_those_of_clients_that_know_nothing_of_each_other() -> None:
    gaps = np.diff(poisson(1000, 100, 0))
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)  # as an exponential's are


def test_a_recording_begins_at_its_first(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("1700000003.5\n1700000001\n1700000002.25\n")
    assert recorded(trace).tolist() == [0, 1.25, 2.5]


@pytest.mark.parametrize("text", ["", "soon\n", "nan\n"])
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    trace = tmp_path / "trace"
    trace.write_text(text)
    with pytest.raises(MarsmithError, match="the trace"):
        recorded(trace)
