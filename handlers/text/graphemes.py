"""Spans of a text that don't split what people see as one character."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from handlers.errors import LoadError

# Flags are pairs of letters. For each, \X would look back over a whole row of them.
CLUSTER = r"[\U0001F1E6-\U0001F1FF]{2}[\p{Grapheme_Extend}\u200d\p{Mc}]*|\X"


def safe(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Trim blanks from spans, and widen them until none splits what people see as one character.

    A tokenizer may count the blank before a word as part of it, strip the accent of a letter, or
    cut an emoji of several code points.

    Args:
        text: the caller's text.
        spans: (start, end) in it, in code points.

    Raises:
        LoadError: regex is missing.

    See: https://unicode.org/reports/tr29, extended grapheme clusters.
    """
    trimmed = [_trimmed(text, *span) for span in spans]
    if not trimmed or (text.isascii() and "\r\n" not in text):
        return trimmed
    try:
        import regex
    except ImportError as error:
        raise LoadError("spans of text need regex", hint="pip install regex") from error
    last, borders = max(end for _, end in trimmed), [0]
    for cluster in regex.finditer(CLUSTER, text):
        if borders[-1] >= last:
            break
        borders.append(cluster.end())
    return [
        (borders[bisect_right(borders, start) - 1], borders[bisect_left(borders, end)])
        for start, end in trimmed
    ]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    inner = text[start:end]
    if not inner.strip():
        return start, end
    return end - len(inner.lstrip()), start + len(inner.rstrip())
