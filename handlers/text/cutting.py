"""Choose the tokens of one or two texts that fit a model: the first ones, or all, in windows.

The tokenizers library cuts, too; but it combines every part of a pair's first text with every part
of the second, which takes gigabytes for two long texts. The choice here is the same as its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from handlers.errors import BadRequest

Truncation = Literal["longest_first", "only_first", "only_second"]
Sequences = Sequence[int | None]
"""The text that each token is of, 0 or 1; None for special tokens, which are always kept."""


def first(sequences: Sequences, most: int, truncation: Truncation) -> list[int]:
    """The positions of the tokens that are kept when there are more than `most`.

    Raises:
        BadRequest: nothing would be left of a text.
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
    """How many tokens of each of two texts are kept."""
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
    """The positions of the tokens in each window of at most `most`.

    Args:
        sequences: the text of each token.
        most: the most tokens in a window.
        moving: the text whose parts are in the windows; the other text is whole in each.
        overlap: how many tokens of a window are in the next one, too.
        limit: how many windows there may be.
        truncate: leave out what follows the last window; otherwise that is refused.

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
