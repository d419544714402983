"""Accuracy of `image_classification`."""

from __future__ import annotations

from collections.abc import Sequence

from marsmith.errors import BuildError


def measure(answers: Sequence[dict[str, float]], expected: Sequence[str]) -> float:
    """The share of answers whose first label is the expected one, in [0, 1].

    Raises:
        BuildError: the expected answers are no labels.
    """
    if not all(isinstance(each, str) for each in expected):
        raise BuildError("accuracy compares labels: the expected answers must be strings")
    hits = sum(next(iter(a), None) == e for a, e in zip(answers, expected, strict=True))
    return hits / len(expected)
