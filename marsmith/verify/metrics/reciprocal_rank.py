"""How early the first relevant document comes: of `reranking`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any


def measure(answers: Sequence[Mapping[str, Any]], expected: Sequence[Collection[int]]) -> float:
    """The mean of 1 / the rank of the first relevant document, in [0, 1]; 0 where there is none.

    Args:
        answers: with `results`, each of which has the `index` of a document.
        expected: the indices of the relevant ones.
    """
    found = [
        next((1 / rank for rank, place in enumerate(_places(each), 1) if place in right), 0.0)
        for each, right in zip(answers, expected, strict=True)
    ]
    return sum(found) / len(found)


def _places(answer: Mapping[str, Any]) -> list[int]:
    return [int(each["index"]) for each in answer["results"]]
