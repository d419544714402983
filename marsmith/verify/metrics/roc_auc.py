"""How well probabilities rank: the area under the ROC curve, of `tabular` classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from marsmith.errors import BuildError


class Classified(TypedDict):
    """What is read of an answer."""

    probabilities: Mapping[str, float]


def measure(answers: Sequence[Classified], expected: Sequence[str]) -> float:
    """How often a row with a label is given a higher probability of it than a row without.

    Ties count as half. For more than two labels, the mean over each against all others.

    Args:
        answers: with `probabilities`, an object of labels and numbers.
        expected: the labels.

    Returns:
        In [0, 1]; 0.5 is what chance gives.

    Raises:
        BuildError: there are fewer than two labels, or one that no answer has.

    See: J. Hanley, B. McNeil, The Meaning and Use of the Area under a ROC Curve, 1982.
    """
    labels, known = sorted(set(expected)), {name for a in answers for name in a["probabilities"]}
    if len(labels) < 2 or not known.issuperset(labels):
        raise BuildError("roc_auc needs two labels or more, each of which the model knows")
    areas = []
    for label in labels[1:] if len(labels) == 2 else labels:
        scores = np.array([answer["probabilities"].get(label, 0.0) for answer in answers])
        is_it = np.array([each == label for each in expected])
        others = np.sort(scores[~is_it])
        below = np.searchsorted(others, scores[is_it], "left")
        up_to = np.searchsorted(others, scores[is_it], "right")
        areas.append(float((below + up_to).mean() / 2 / len(others)))
    return sum(areas) / len(areas)
