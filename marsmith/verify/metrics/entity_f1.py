"""How well entities are found, as CoNLL measures it: of `token_classification`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marsmith.errors import BuildError

Entity = dict[str, Any]


def measure(answers: Sequence[dict[str, Any]], expected: Sequence[Sequence[Entity]]) -> float:
    """Twice the hits, by the number of those found and of those to be found, in [0, 1].

    A hit has the very label, start and end; those of all texts count together.

    Args:
        answers: with `entities` that have `label`, `start` and `end`.
        expected: of each text a list of all that is to be found: `label`, `start` and `end`.

    Raises:
        BuildError: the expected answers are no such lists, or there is nothing to find in any.

    See: E. Tjong Kim Sang, F. De Meulder, Introduction to the CoNLL-2003 Shared Task, 2003.
    """
    try:
        wanted = [_keys(each) for each in expected]
    except (TypeError, KeyError):
        raise BuildError("the expected answers must be lists of {label, start, end}") from None
    if not any(wanted):
        raise BuildError("there is nothing to find in any of the expected answers")
    found = [_keys(answer["entities"]) for answer in answers]
    hits = sum(len(one & other) for one, other in zip(found, wanted, strict=True))
    return 2 * hits / (sum(map(len, found)) + sum(map(len, wanted)))


def _keys(entities: Sequence[Entity]) -> set[tuple[str, int, int]]:
    return {(each["label"], each["start"], each["end"]) for each in entities}
