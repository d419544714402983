from __future__ import annotations

from typing import Any

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics import exact_match, span_f1


def answers(*texts: str) -> list[dict[str, Any]]:
    return [{"answers": [{"answer": text}, {"answer": "second"}]} for text in texts]


NONE: dict[str, Any] = {"answers": []}


@pytest.mark.parametrize(
    ("said", "right", "f1", "same"),
    [
        ("The cat.", "cat", 1.0, 1.0),
        ("a big cat", "the cat", 2 / 3, 0.0),
        ("cat cat", "cat", 2 / 3, 0.0),
        ("dog", ["cat", "a dog"], 1.0, 1.0),
        ("second", "first", 0.0, 0.0),
        ("", "", 1.0, 1.0),
        ("cat", "", 0.0, 0.0),
        ("()", "", 1.0, 0.0),
        ("()", "()", 1.0, 1.0),
    ],
)
def test_as_squad_measures(said: str, right: Any, f1: float, same: float) -> None:
    assert span_f1.measure(answers(said), [right]) == pytest.approx(f1)
    assert exact_match.measure(answers(said), [right]) == same


def test_of_all_the_mean_and_no_answer_is_an_empty_one() -> None:
    assert exact_match.measure([*answers("a b"), NONE], ["b", "c"]) == 0.5
    assert span_f1.measure([NONE], [""]) == 1.0


@pytest.mark.parametrize("right", [3, [3], None, []])
def test_what_is_expected_must_be_texts(right: Any) -> None:
    for metric in (span_f1, exact_match):
        with pytest.raises(BuildError, match="expected answer"):
            metric.measure(answers("x"), [right])
