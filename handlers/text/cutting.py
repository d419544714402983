"""Which tokens of one text or two fit into a model: the first ones, or all of them in windows.

The tokenizers library cuts, too; but of a pair it makes every part of the one with every part of
the other, which two long texts turn into gigabytes. What is chosen here is what it would choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from handlers.errors import BadRequest

Truncation = Literal["longest_first", "only_first", "only_second"]
Sequences = Sequence[int | None]
"""Of each token, the text that it is of, 0 or 1; None where it is special, and always kept."""


def first(sequences: Sequences, most: int, truncation: Truncation) -> list[int]:
    """The places of the tokens that are kept when there are more than `most`.

    Raises:
        BadRequest: that leaves nothing of a text.
    """
    sizes = sequences.count(0), sequences.count(1)
    kept = _kept(*sizes, most - sequences.count(None), truncation)
    if any(keep < min(size, 1) for keep, size in zip(kept, sizes, strict=True)):
        raise BadRequest(f"no room for both texts in {most} tokens", hint="send less", status=422)
    seen, places = [0, 0], []
    for place, sequence in enumerate(sequences):
        if sequence is not None:
            seen[sequence] += 1
        if sequence is None or seen[sequence] <= kept[sequence]:
            places.append(place)
    return places


def _kept(first: int, second: int, room: int, truncation: Truncation) -> tuple[int, int]:
    """How many tokens of two texts are kept."""
    if truncation == "only_first":
        return room - second, second
    if truncation == "only_second":
        return first, room - first
    shorter = min(first, second)
    longer = max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room - room // 2
    return (shorter, longer) if first <= second else (longer, shorter)


def windows(
    sequences: Sequences, most: int, *, moving: int, overlap: int, limit: int, truncate: bool
) -> tuple[list[list[int]], bool]:
    """The places of the tokens in each window of at most `most`.

    Args:
        sequences: of all tokens.
        most: tokens in a window.
        moving: the text whose parts are in the windows; another is whole in each.
        overlap: how many tokens of a window are in the next one, too.
        limit: how many windows there may be.
        truncate: leave out what lies behind them; otherwise that is refused.

    Returns:
        The windows, and whether anything was left out.

    Raises:
        BadRequest: there would be more windows, or the other text leaves no room.
    """
    parts = [place for place, sequence in enumerate(sequences) if sequence == moving]
    room = most - (len(sequences) - len(parts))
    if len(parts) <= room:
        return [list(range(len(sequences)))], False
    if room <= overlap:
        raise BadRequest(f"no room for both texts in {most} tokens", hint="send less", status=422)
    starts = range(0, len(parts) - overlap, room - overlap)
    if len(starts) > limit and not truncate:
        raise BadRequest(
            f"the text needs {len(starts)} windows of {most} tokens; at most {limit} are allowed",
            hint="send less, or allow 'truncate'",
            status=413,
        )
    others = [place for place, sequence in enumerate(sequences) if sequence != moving]
    found = [sorted([*others, *parts[start : start + room]]) for start in starts[:limit]]
    return found, len(starts) > limit
