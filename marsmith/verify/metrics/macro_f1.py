"""How well every label is found, rare ones as much as common ones: of all classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from marsmith.errors import BuildError
from marsmith.verify.metrics.accuracy import predicted


def measure(answers: Sequence[Mapping[str, object]], expected: Sequence[str]) -> float:
    """The mean F1 of the expected labels: twice the hits ÷ (times predicted + times expected).

    Args:
        answers: as `accuracy` takes them.
        expected: the labels.

    Returns:
        In [0, 1]. A label that is predicted and never expected counts as a miss of the expected
        one, and has no share of its own in the mean.

    Raises:
        BuildError: the expected answers are not labels.

    See: C. van Rijsbergen, Information Retrieval, 2nd edition, 1979, chapter 7.
    """
    if not all(isinstance(each, str) for each in expected):
        raise BuildError("macro_f1 compares labels: the expected answers must be strings")
    labels, right = np.unique(np.array(expected), return_inverse=True)
    numbers: dict[object, int] = {str(label): number for number, label in enumerate(labels)}
    found = [predicted(answer) for answer in answers]
    # Labels that are never expected share one number behind the others.
    said = np.array([numbers.get(each, len(labels)) for each in found])
    count = len(labels) + 1
    hits = np.bincount(right[said == right], minlength=count)
    both = np.bincount(said, minlength=count) + np.bincount(right, minlength=count)
    return float((2 * hits[:-1] / both[:-1]).mean())
