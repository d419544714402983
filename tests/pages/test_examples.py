"""What is kept of an answer, and when two of them say the same."""

from __future__ import annotations

from pages.examples import alike, shortened


def test_long_lists_are_cut_and_say_so() -> None:
    assert shortened({"a": [1.23456, *range(7)]}) == {"a": [1.235, 0, 1, 2, 3, 4, "... 2 more"]}


def test_numbers_may_be_rounded_otherwise_and_nothing_else() -> None:
    said = {"label": "cat", "scores": [0.5, 0.25], "count": 3}
    assert alike(said, {**said, "scores": [0.501, 0.249]})
    for other in ({"scores": [0.6, 0.25]}, {"count": 4}, {"label": "dog"}, {"scores": [0.5]}):
        assert not alike(said, {**said, **other})
    assert not alike(said, {"label": "cat"})
