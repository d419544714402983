"""Catalogues: the items that can be recommended and their popularity, JSON in the archive."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from handlers.errors import BadRequest, LoadError
from handlers.schema import kind

Id = str | int

MAX_SHOWN = 80  # characters of unknown ids in a message
LARGEST = 1 << 63  # a client's integer may have more digits than Python writes


@dataclass(frozen=True)
class Catalogue:
    """All items, numbered in the order of their ids.

    Attributes:
        ids: the items' ids; unique, also as text: 5 and "5" are one item.
        counts: how often each item was chosen.
        ranking: the numbers of all items, the most popular first.
    """

    ids: Sequence[Id]
    counts: Sequence[float]
    ranking: Sequence[int] = field(init=False)
    _numbers: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ranking = sorted(range(len(self.ids)), key=lambda number: -self.counts[number])
        object.__setattr__(self, "ranking", ranking)
        object.__setattr__(self, "_numbers", {str(each): n for n, each in enumerate(self.ids)})

    def numbers(self, ids: Sequence[object], *, ignore_unknown: bool = False) -> list[int]:
        """Look up the numbers of items.

        Args:
            ids: the items' ids, from a client.
            ignore_unknown: leave out ids that are not in the catalogue.

        Raises:
            BadRequest: 400 for what can't be an id, 422 for ids that are not in the catalogue.
        """
        found: list[int] = []
        unknown: list[Id] = []
        for each in ids:
            if not _is_id(each):
                raise BadRequest(
                    f"an item's id must be a string or an integer, not {kind(each)}",
                    hint='send the ids as a list: {"history": ["...", "..."]}',
                )
            number = None if _huge(each) else self._numbers.get(str(each))
            if number is None:
                unknown.append(each)
            else:
                found.append(number)
        if unknown and not ignore_unknown:
            raise BadRequest(
                f"{len(unknown)} of the ids are not in the catalogue: {_some(unknown)}",
                hint="leave them out, or ask for 'ignore_unknown'",
                status=422,
            )
        return found


def read(ids: Path, popularity: Path) -> Catalogue:
    """Read a catalogue.

    Args:
        ids: a JSON list of unique strings or integers.
        popularity: a JSON list of [id, count] pairs; items that aren't in it count 0.

    Raises:
        LoadError: a file can't be read, or is not such a list.
    """
    found = _read(ids)
    items = [each for each in found if _is_id(each) and not _huge(each)]
    if not items or len(items) != len(found):
        raise LoadError(f"{ids.name} must be a JSON list of strings or 64-bit integers, not empty")
    counts = dict.fromkeys(map(str, items), 0.0)
    if len(counts) != len(items):
        raise LoadError(f"the ids in {ids.name} must be unique, also as text")
    for pair in _read(popularity):
        if not isinstance(pair, list) or len(pair) != 2 or not _is_count(pair[1]):
            raise LoadError(f"{popularity.name} must be a JSON list of [id, count] pairs")
        if str(pair[0]) not in counts:
            raise LoadError(f"{str(pair[0])[:80]!a} in {popularity.name} is not in {ids.name}")
        counts[str(pair[0])] = float(pair[1])
    return Catalogue(items, list(counts.values()))


def _read(path: Path) -> list[object]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{path.name} can't be read: {error}") from error
    if not isinstance(content, list):
        raise LoadError(f"{path.name} must be a JSON list, not {kind(content)}")
    return content


def _is_id(value: object) -> TypeGuard[Id]:
    return type(value) in (str, int)  # a boolean is an int, too


def _is_count(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < LARGEST  # type: ignore[operator]


def _some(ids: Sequence[Id]) -> str:
    shown: list[str] = []
    room = MAX_SHOWN
    for each in ids:
        # In ASCII, because a lone surrogate is not text; that makes it longer, so it is cut twice.
        if _huge(each):
            word = "a huge integer"
        else:
            word = ascii(each[:40])[:42] if isinstance(each, str) else str(each)
        room -= len(word)
        if room < 0:
            return ", ".join([*shown, "..."])
        shown.append(word)
    return ", ".join(shown)


def _huge(identity: Id) -> bool:
    return isinstance(identity, int) and abs(identity) >= LARGEST
