"""Accuracy of `image_classification`, `text_classification` and `tabular` classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from marsmith.errors import BuildError


def measure(answers: Sequence[Mapping[str, object]], expected: Sequence[str]) -> float:
    """The share of answers whose prediction is the expected one, in [0, 1].

    Args:
        answers: a `prediction` and `probabilities`; or labels and their scores, best first, which
            may be under `scores` beside other fields.
        expected: the labels.

    Raises:
        BuildError: the expected answers are not labels.
    """
    if not all(isinstance(each, str) for each in expected):
        raise BuildError("accuracy compares labels: the expected answers must be strings")
    hits = sum(predicted(a) == e for a, e in zip(answers, expected, strict=True))
    return hits / len(expected)


def predicted(answer: Mapping[str, object]) -> object:
    """The label that an answer predicts; None where it has none."""
    if isinstance(answer.get("probabilities"), dict):
        return answer["prediction"]
    scores = answer.get("scores")
    return next(iter(scores if isinstance(scores, dict) else answer), None)
