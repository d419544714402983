from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.accuracy import measure


def test_it_counts_the_first_labels_that_are_right() -> None:
    assert measure([{"a": 0.9, "b": 0.1}, {"a": 0.6}], ["a", "b"]) == 0.5


def test_a_prediction_is_a_label_whatever_comes_first() -> None:
    answer = {"prediction": "b", "probabilities": {"b": 0.9, "a": 0.1}}
    assert measure([answer, answer, {"prediction": 0.9, "a": 0.1}], ["b", "a", "prediction"]) == (
        pytest.approx(2 / 3)
    )


def test_scores_may_be_among_others() -> None:
    answer = {"scores": {"b": 0.9, "a": 0.1}, "tokens": 3}
    assert measure([answer, answer, {"scores": 0.9, "a": 0.1}], ["b", "a", "scores"]) == (
        pytest.approx(2 / 3)
    )


def test_what_is_expected_must_be_labels() -> None:
    with pytest.raises(BuildError, match="must be strings"):
        measure([{"a": 1.0}], [1])  # type: ignore[list-item]
