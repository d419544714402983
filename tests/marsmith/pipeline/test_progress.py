from __future__ import annotations

import threading

import pytest

from marsmith.pipeline import progress
from marsmith.pipeline.progress import Progress, duration
from tests.support.waiting import wait_until


def test_each_step_has_its_number_and_later_ones_what_is_left() -> None:
    said: list[str] = []
    now = [0.0]
    with Progress(4, said.append, lambda: now[0]) as counted:
        for taken in (0.0, 4.0, 30.0, 60.0):
            now[0] = taken
            counted.next("convert")
    assert said == [
        "1/4 convert",
        "2/4 convert",  # too early to guess
        "3/4 convert (30 s so far, about 30 s left)",
        "4/4 convert (1 min so far, about 20 s left)",
    ]


def test_a_step_that_takes_long_is_told_of_again_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "STILL_S", 0.01)
    said: list[str] = []
    with Progress(1, said.append) as counted:
        counted.next("convert")
        wait_until(lambda: len(said) > 2)
    assert said[1].startswith("1/1 convert (still, after 0 s")
    wait_until(lambda: not any("_still" in each.name for each in threading.enumerate()))
    told = len(said)
    threading.Event().wait(0.05)
    assert len(said) == told


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (200, "3 min"), (4800, "1 h 20 min")],
)
def test_durations_are_told_as_people_do(seconds: float, words: str) -> None:
    assert duration(seconds) == words
