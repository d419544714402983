from __future__ import annotations

import pytest

from marsmith.pipeline.progress import Progress, duration


def test_each_step_has_its_number_and_later_ones_what_is_left() -> None:
    said: list[str] = []
    now = [0.0]
    progress = Progress(4, said.append, lambda: now[0])
    for taken in (0.0, 4.0, 30.0, 60.0):
        now[0] = taken
        progress.next("convert")
    assert said == [
        "1/4 convert",
        "2/4 convert",  # too early to guess
        "3/4 convert (30 s so far, about 30 s left)",
        "4/4 convert (1 min so far, about 20 s left)",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (200, "3 min"), (4800, "1 h 20 min")],
)
def test_durations_are_told_as_people_do(seconds: float, words: str) -> None:
    assert duration(seconds) == words
