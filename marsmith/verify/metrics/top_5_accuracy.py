"""Whether a right label is among the first five: of `image_classification`, as ImageNet counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from marsmith.errors import BuildError

TOP = 5


def measure(
    answers: Sequence[Mapping[str, object]], expected: Sequence[str | Sequence[str]]
) -> float:
    """The share of answers with a right label among their first five, in [0, 1].

    Args:
        answers: labels and their scores, best first; what comes after the fifth doesn't count.
        expected: the right label of each, or several that are right; an empty list for what has
            no right label: it isn't counted.

    Raises:
        BuildError: the expected answers are not labels, or none of them has any.
    """
    right = [(each,) if isinstance(each, str) else each for each in expected]
    if not all(isinstance(each, (list, tuple)) and _labels(each) for each in right):
        raise BuildError("top_5_accuracy expects a label of each, or a list of labels")
    pairs = [(a, r) for a, r in zip(answers, right, strict=True) if r]
    if not pairs:
        raise BuildError("top_5_accuracy needs a label of one answer at least")
    return sum(any(label in r for label in islice(a, TOP)) for a, r in pairs) / len(pairs)


def _labels(each: Sequence[object]) -> bool:
    return all(isinstance(label, str) for label in each)
