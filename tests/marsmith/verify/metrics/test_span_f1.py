from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.span_f1 import RankedAnswers, measure


def answers(*texts: str) -> list[RankedAnswers]:
    return [{"answers": [{"answer": text}, {"answer": "second"}]} for text in texts]


@pytest.mark.parametrize(
    ("said", "right", "f1"),
    [
        ("The cat.", "cat", 1.0),
        ("a big cat", "the cat", 2 / 3),
        ("cat cat", "cat", 2 / 3),
        ("dog", ["cat", "a dog"], 1.0),
        ("second", "first", 0.0),
        ("", "", 1.0),
        ("cat", "", 0.0),
        ("()", "", 1.0),
        ("()", "()", 1.0),
    ],
)
def test_as_squad_measures(said: str, right: str | list[str], f1: float) -> None:
    assert measure(answers(said), [right]) == pytest.approx(f1)


def test_no_answer_is_an_empty_one() -> None:
    assert measure([{"answers": []}], [""]) == 1.0


@pytest.mark.parametrize("right", [3, [3], None, []])
def test_what_is_expected_must_be_texts(right: object) -> None:
    with pytest.raises(BuildError, match="expected answer"):
        measure(answers("x"), [right])  # type: ignore[list-item]
