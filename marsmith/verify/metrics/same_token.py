"""How often the likeliest token is the right one: of `fill_mask`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def measure(answers: Sequence[Mapping[str, Any]], expected: Sequence[str]) -> float:
    """The share of texts whose first mask is filled in right, in [0, 1].

    Args:
        answers: with `masks`, a list for each mask, of tokens, best first.
        expected: the token as it is written, without blanks around it.
    """
    found = [
        str(answer["masks"][0][0]["token_str"]).strip() == right
        for answer, right in zip(answers, expected, strict=True)
    ]
    return sum(found) / len(found)
