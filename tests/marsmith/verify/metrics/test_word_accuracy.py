"""1 less the word error rate."""

from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.word_accuracy import measure


@pytest.mark.parametrize(
    ("answers", "expected", "accuracy"),
    [
        (["one two"], ["one two"], 1),
        ([" one  two "], ["one two"], 1),
        (["one too", "three"], ["one two", "three"], 2 / 3),
        (["", "x", "three"], ["one two", "", "three"], 0),
        (["a b c d"], ["e"], -3),
        (["One"], ["one"], 0),
    ],
)
def test_it_counts_words(answers: list[str], expected: list[str], accuracy: float) -> None:
    found = measure([{"text": answer} for answer in answers], expected)
    assert found == pytest.approx(accuracy)


@pytest.mark.parametrize("expected", [[""], [7], [["one"]]])
def test_without_words_to_expect_there_is_nothing_to_measure(expected: list[object]) -> None:
    with pytest.raises(BuildError, match="must be strings"):
        measure([{"text": "one"}], expected)  # type: ignore[arg-type]
