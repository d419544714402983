from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.exact_match import measure
from marsmith.verify.metrics.span_f1 import RankedAnswers


def answers(*texts: str) -> list[RankedAnswers]:
    return [{"answers": [{"answer": text}, {"answer": "second"}]} for text in texts]


@pytest.mark.parametrize(
    ("said", "right", "same"),
    [
        ("The cat.", "cat", 1.0),
        ("a big cat", "the cat", 0.0),
        ("cat cat", "cat", 0.0),
        ("dog", ["cat", "a dog"], 1.0),
        ("second", "first", 0.0),
        ("", "", 1.0),
        ("cat", "", 0.0),
        ("()", "", 0.0),
        ("()", "()", 1.0),
    ],
)
def test_as_squad_measures(said: str, right: str | list[str], same: float) -> None:
    assert measure(answers(said), [right]) == same


def test_of_all_the_mean() -> None:
    assert measure([*answers("a b"), {"answers": []}], ["b", "c"]) == 0.5


@pytest.mark.parametrize("right", [3, [3], None, []])
def test_what_is_expected_must_be_texts(right: object) -> None:
    with pytest.raises(BuildError, match="expected answer"):
        measure(answers("x"), [right])  # type: ignore[list-item]
