"""How much may be on its way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marsmith.serving.front.room import Room


def test_what_is_not_known_yet_has_all_the_room() -> None:
    assert Room(at_once=8, most=256, wait_s=1.0).requests() == 256


def test_room_is_what_is_answered_in_the_time_that_one_may_wait() -> None:
    room = Room(at_once=8, most=256, wait_s=2.0, rate=50.0)
    assert room.requests() == 100
    assert room.retry_after_s() == 2
    for _ in range(30):
        room.observe(20, 1.0, waiting=True)  # it has become slower
    assert 40 <= room.requests() <= 42
    for _ in range(30):
        room.observe(1, 1.0, waiting=False)  # nobody asks: that says nothing of what it can do
    assert 40 <= room.requests() <= 42
    room.observe(1000, 1.0, waiting=False)
    assert room.requests() == 256


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.booleans())),
    st.floats(0.01, 1000),
    st.integers(1, 64),
)
def test_there_is_always_some_room(
    seen: list[tuple[int, bool]], wait_s: float, at_once: int
) -> None:
    room = Room(at_once=at_once, most=256, wait_s=wait_s)
    for answered, waiting in seen:
        room.observe(answered, 1.0, waiting=waiting)
        assert at_once <= room.requests() <= 256
        assert 1 <= room.retry_after_s() <= 60
