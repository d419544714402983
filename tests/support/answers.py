"""What an answer is compared with, and what a refusal looks like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from marsmith.harness.wire import Response


def same(one: Any, other: Any, tolerance: float = 1e-5) -> bool:
    """Equal, keys in the same order, and numbers within the tolerance.

    Batches of other sizes take other paths through the matrix library: float32, and scores <= 1.
    A list in a string is compared as one: so the Open Inference Protocol carries it.
    """
    if isinstance(one, str) and isinstance(other, str) and one[:1] == other[:1] == "[":
        with suppress(ValueError):  # a text may begin like a list
            one, other = json.loads(one), json.loads(other)
    if isinstance(one, dict) and isinstance(other, dict):
        if all(isinstance(score, float) for score in (*one.values(), *other.values())):
            return same_ranking(one, other, tolerance)
        return list(one) == list(other) and all(same(one[k], other[k], tolerance) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(same(*pair, tolerance) for pair in pairs)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= tolerance
    return type(one) is type(other) and one == other


def same_ranking(
    one: Mapping[Any, float], other: Mapping[Any, float], tolerance: float = 1e-5
) -> bool:
    """Equal scores in the same order, whose names may change places where scores are near equal.

    Kernels differ in the last bits, from one size of batch and one CPU to the next.
    """
    places = list(zip(one.values(), other.values(), strict=False))
    # What has made way for a name of nearly its score was the last.
    last = min(other.values(), default=0.0)
    named = [(score, other.get(name, last)) for name, score in one.items()]
    return len(one) == len(other) and all(abs(a - b) <= tolerance for a, b in places + named)


def plain(data: object) -> Any:
    """JSON data as a client reads it."""
    return json.loads(json.dumps(data))


def strict_json(response: Response) -> Any:
    """The body, which must be what every JSON parser reads."""
    assert response.content_type == "application/json"
    assert response.body.isascii()
    return json.loads(response.body, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))


def check_refused(response: Response) -> None:
    """The client's fault, said in words."""
    assert 400 <= response.status < 500, response
    error = strict_json(response)
    assert set(error) == {"error", "hint"}
    assert all(isinstance(words, str) for words in error.values())
    assert error["error"]
    assert len(response.body) < 1500
