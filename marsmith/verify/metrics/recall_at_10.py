"""How much of what users chose is among the first ten items: of `recommendation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from marsmith.errors import BuildError

TOP = 10


class Items(TypedDict):
    """What is read of an answer: ids, the best first."""

    items: Sequence[str | int]


def measure(answers: Sequence[Items], expected: Sequence[Sequence[str | int]]) -> float:
    """The share of a user's held-out items among the first ten, in [0, 1], as the mean over users.

    Args:
        answers: with `items`, the best first; what comes after the tenth doesn't count.
        expected: for each user the ids of the held-out items, one or more.

    Raises:
        BuildError: the expected answers are not lists of ids, or one is empty.
    """
    if not all(isinstance(each, (list, tuple)) and each for each in expected):
        raise BuildError("recall_at_10 expects a list of ids for each user, not an empty one")
    shares = [
        len(_keys(answer["items"][:TOP]) & _keys(chosen)) / len(_keys(chosen))
        for answer, chosen in zip(answers, expected, strict=True)
    ]
    return sum(shares) / len(shares)


def _keys(ids: Sequence[str | int]) -> set[str]:
    # 5 and "5" are one item, as for the handler.
    return set(map(str, ids))
