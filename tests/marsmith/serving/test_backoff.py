"""When what has died is started again."""

from __future__ import annotations

from marsmith.serving.backoff import MOST_BACK_OFF_S, STEADY_S, Backoff


def test_a_revival_comes_at_once_then_later_and_later() -> None:
    now = 1000.0
    backoff = Backoff(lambda: now)
    waits = []
    for _ in range(10):
        assert backoff.due()
        backoff.begin()
        began = now
        while not backoff.due():
            now += 0.25
        waits.append(now - began)
    assert waits[:5] == [0.5, 1, 2, 4, 8]
    assert waits[-1] == MOST_BACK_OFF_S
    now += STEADY_S + 1  # it has lived long: this is another death
    backoff.begin()
    assert backoff.due()
