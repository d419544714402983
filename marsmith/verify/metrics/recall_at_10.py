"""How much of what users chose is among the first ten items: of `recommendation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marsmith.errors import BuildError

TOP = 10


def measure(answers: Sequence[dict[str, Any]], expected: Sequence[Sequence[str | int]]) -> float:
    """The share of each user's held-out items that is among ten, in [0, 1]; of all, the mean.

    Args:
        answers: with `items`, the best first; what comes after the tenth doesn't count.
        expected: of each user, the ids of the items held out, one or more.

    Raises:
        BuildError: the expected answers are no lists of ids, or one is empty.
    """
    if not all(isinstance(each, (list, tuple)) and each for each in expected):
        raise BuildError("recall_at_10 expects of each user a list of ids, not an empty one")
    shares = [
        len(_keys(answer["items"][:TOP]) & _keys(chosen)) / len(_keys(chosen))
        for answer, chosen in zip(answers, expected, strict=True)
    ]
    return sum(shares) / len(shares)


def _keys(ids: Sequence[str | int]) -> set[str]:
    # 5 and "5" are one item, as for the handler.
    return set(map(str, ids))
