"""How much may be on its way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marsmith.serving.front.concurrency import ConcurrencyLimit


def test_what_is_not_known_yet_is_bounded_by_the_recipe_alone() -> None:
    assert ConcurrencyLimit(at_once=8, most=256, wait_s=1.0).requests() == 256


def test_room_is_what_is_answered_in_the_time_that_one_may_wait() -> None:
    limit = ConcurrencyLimit(at_once=8, most=256, wait_s=2.0, rate=50.0)
    assert limit.requests() == 100
    assert limit.retry_after_s() == 2
    for _ in range(30):
        limit.observe(20, 1.0, waiting=True)  # it has become slower
    assert 40 <= limit.requests() <= 42
    for _ in range(30):
        limit.observe(1, 1.0, waiting=False)  # nobody asks: that says nothing of what it can do
    assert 40 <= limit.requests() <= 42
    limit.observe(1000, 1.0, waiting=False)
    assert limit.requests() == 256


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.booleans())),
    st.floats(0.01, 1000),
    st.integers(1, 64),
)
def test_some_may_always_be_in_flight(
    seen: list[tuple[int, bool]], wait_s: float, at_once: int
) -> None:
    limit = ConcurrencyLimit(at_once=at_once, most=256, wait_s=wait_s)
    for answered, waiting in seen:
        limit.observe(answered, 1.0, waiting=waiting)
        assert at_once <= limit.requests() <= 256
        assert 1 <= limit.retry_after_s() <= 60
