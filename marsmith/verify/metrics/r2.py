"""How much of the variance is predicted, the coefficient of determination: of regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from marsmith.errors import BuildError


def measure(
    answers: Sequence[Mapping[str, object]], expected: Sequence[float | Sequence[float]]
) -> float:
    """1 - the squares of the errors ÷ the squares of the differences from the mean.

    Args:
        answers: with a `prediction`, a number, or a list with a number for each target.
        expected: numbers, or lists of them.

    Returns:
        At most 1; 0 is what the mean alone gives. For several targets, their mean.

    Raises:
        BuildError: answers and expected numbers have other shapes, or those never differ.
    """
    found = np.array([answer["prediction"] for answer in answers], dtype=np.float64)
    wanted = np.array(expected, dtype=np.float64)
    if found.shape != wanted.shape:
        raise BuildError(f"r2 compares {wanted.shape} numbers with {found.shape} predictions")
    spread = ((wanted - wanted.mean(axis=0)) ** 2).sum(axis=0)
    if not np.all(spread > 0):
        raise BuildError("r2 needs expected numbers that differ")
    return float((1 - ((wanted - found) ** 2).sum(axis=0) / spread).mean())
