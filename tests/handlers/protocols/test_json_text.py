"""JSON that costs far more than its bytes: it is refused before it is parsed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.errors import BadRequest
from handlers.protocols import json_text, payload
from handlers.protocols.json_text import BLOCK, OF_A_KEY, OF_A_LIST, USUAL, JsonLimits, check, parse

VALUES = st.recursive(
    st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["\\", '"', '\\"', "[[{{", ",:,", "\\\\"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)  # fmt: skip


@contextmanager
def unparsed() -> Iterator[mock.Mock]:
    with mock.patch.object(json, "loads") as loads:
        yield loads
    loads.assert_not_called()


def cost(value: Any) -> int:
    """What a value counts as: a comma between two, a list as 4, a key as 10."""
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(inner, list):
        return 0
    keys = OF_A_KEY * len(inner) if isinstance(value, dict) else 0
    return OF_A_LIST + keys + max(0, len(inner) - 1) + sum(map(cost, inner))


def depth(value: Any) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0) if isinstance(inner, list) else 0


@given(VALUES, st.integers(1, 9))
def test_exactly_what_is_beyond_a_bound_is_refused(value: Any, block: int) -> None:
    data = json.dumps(value, ensure_ascii=False).encode()
    for most, found, name in (
        (cost(value), cost, "max_json_values"),
        (depth(value), depth, "max_json_depth"),
    ):
        with mock.patch.object(json_text, "BLOCK", block):
            assert parse(data, JsonLimits(**{name: max(1, most)})) == value
            if found(value) > 1:
                with unparsed(), pytest.raises(BadRequest) as caught:
                    parse(data, JsonLimits(**{name: most - 1}))
                assert caught.value.status == 413
                assert name in caught.value.hint


@given(st.binary(max_size=60), st.integers(1, 9))
def test_any_bytes_are_looked_over(data: bytes, block: int) -> None:
    with mock.patch.object(json_text, "BLOCK", block), suppress(BadRequest):
        check(data, JsonLimits(max_json_values=5, max_json_depth=1))


MANY = 1_000_000
BOMBS: dict[str, Callable[[], tuple[bytes, str]]] = {
    "keys": lambda: (b"{" + b'"k":1,' * MANY + b'"k":1}', "max_json_values"),
    "lists": lambda: (b"[" + b"[]," * MANY + b"1]", "max_json_values"),
    "numbers": lambda: (b"[" + b"1," * 4 * MANY + b"1]", "max_json_values"),
    "depth": lambda: (b"[" * MANY, "max_json_depth"),
    "depth behind strings": lambda: (b'["' + b'\\"[{' * 1000 + b'",' + b"[" * 64, "max_json_depth"),
    "bytes": lambda: (b'"' + b"a" * USUAL.max_json_bytes + b'"', "max_json_bytes"),
    "inputs": lambda: (
        b'{"inputs": ['
        + b'{"name":"a","shape":[1],"datatype":"FP32","data":[1]},' * 250_000
        + b"1]}",
        "max_json_values",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_its_setting_and_never_parsed(name: str) -> None:
    data, setting = BOMBS[name]()
    with unparsed(), pytest.raises(BadRequest) as caught:
        payload.received({"body": data}, {"body": "application/json"}, USUAL)
    assert caught.value.status == 413
    assert setting in caught.value.hint
    assert str(getattr(USUAL, setting)) in caught.value.message


def test_what_stands_in_a_string_counts_for_nothing() -> None:
    said = {"text": '[{",:\\' * 200_000}
    data = json.dumps(said).encode()
    assert len(data) > BLOCK
    assert parse(data, JsonLimits(max_json_values=14, max_json_depth=1)) == said


def test_a_number_that_python_does_not_read_is_named() -> None:
    with pytest.raises(BadRequest, match=r"^a whole number in it has more than \d+ digits$"):
        parse(b'{"data": [1, ' + b"7" * 100_000 + b"]}", JsonLimits())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_json_may_come_in_any_unicode(encoding: str) -> None:
    said = {"a": ["≢", "∬", 1]}
    data = json.dumps(said, ensure_ascii=False).encode(encoding)
    assert parse(data, USUAL) == said
    with unparsed(), pytest.raises(BadRequest):
        parse(data, JsonLimits(max_json_values=5))


def test_bodies_are_received_as_torchserve_would_hand_them_over() -> None:
    row = {"a": bytearray(b"[1]"), "b": b"\xc3\xa9", "c": b"[1]", "d": b"{", "e": "x", "f": b"\xff"}
    kinds = {"a": "application/json", "b": "text/plain", "c": "", "d": "application/json"}
    found = payload.received(row, {**kinds, "f": "text/plain"}, USUAL)
    assert found == {**row, "a": [1], "b": "é"}
