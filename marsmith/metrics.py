"""What a good answer is: each function takes JSON answers, as a client sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from marsmith.errors import BuildError, RecipeError
from marsmith.references import resolve

Metric = Callable[[Sequence[Any], Sequence[Any]], float]


def accuracy(answers: Sequence[dict[str, float]], expected: Sequence[str]) -> float:
    """The share of answers whose first label is the expected one, in [0, 1]."""
    if not all(isinstance(each, str) for each in expected):
        raise BuildError("accuracy compares labels: the expected answers must be strings")
    hits = sum(next(iter(a), None) == e for a, e in zip(answers, expected, strict=True))
    return hits / len(expected)


def find(name: str) -> Metric:
    """A metric of this module by its name, or one's own by "module:function".

    Raises:
        RecipeError: there is no such metric.
    """
    if ":" in name:
        return resolve(name)
    known = {"accuracy": accuracy}
    if name not in known:
        raise RecipeError(f"there is no metric {name!r}; there are: {', '.join(known)}")
    return known[name]
