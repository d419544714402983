"""How well entities are found, as CoNLL measures it: of `token_classification`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from marsmith.errors import BuildError

Entity = Mapping[str, object]


class FoundEntities(TypedDict):
    """What is read of an answer."""

    entities: Sequence[Entity]


def measure(answers: Sequence[FoundEntities], expected: Sequence[Sequence[Entity]]) -> float:
    """Twice the hits ÷ (entities found + entities expected), over all texts, in [0, 1].

    A hit has exactly the expected label, start and end.

    Args:
        answers: with `entities` that have `label`, `start` and `end`.
        expected: for each text the list of its entities: `label`, `start` and `end`.

    Raises:
        BuildError: the expected answers are not such lists, or no text has an entity.

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


def _keys(entities: Sequence[Entity]) -> set[tuple[object, object, object]]:
    return {(each["label"], each["start"], each["end"]) for each in entities}
