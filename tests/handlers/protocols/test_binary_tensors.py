"""Bytes behind JSON: what Triton's clients send unless they are told otherwise."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from handlers.errors import BadRequest
from handlers.protocols import payload
from handlers.protocols.binary_tensors import LENGTH, join
from handlers.protocols.tensors import DATATYPES


def body(*entries: tuple[dict[str, Any], bytes]) -> tuple[bytes, str]:
    """A body of JSON and the bytes of its inputs, and the length of the former."""
    inputs = [
        {**entry, "parameters": {"binary_data_size": len(data)}} if data else entry
        for entry, data in entries
    ]
    text = json.dumps({"inputs": inputs}).encode()
    return text + b"".join(data for _, data in entries), str(len(text))


def instances(*entries: tuple[dict[str, Any], bytes]) -> Any:
    data, length = body(*entries)
    return payload.read({"body": data}, {}, [], length).instances


def entry(shape: list[int], datatype: str, name: str = "x") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype}


@given(st.data(), st.sampled_from(sorted(DATATYPES)))
def test_every_array_arrives_as_it_was(data: st.DataObject, datatype: str) -> None:
    shape = array_shapes(max_dims=3, max_side=4)
    sent = data.draw(arrays(np.dtype(DATATYPES[datatype]).newbyteorder("<"), shape))
    found = np.array(instances((entry(list(sent.shape), datatype), sent.tobytes())))
    np.testing.assert_array_equal(found, sent)
    assert found.dtype == DATATYPES[datatype]


@given(st.lists(st.binary(max_size=9), min_size=1))
def test_every_bytes_arrive_as_they_were(sent: list[bytes]) -> None:
    data = b"".join(LENGTH.pack(len(each)) + each for each in sent)
    assert list(instances((entry([len(sent)], "BYTES"), data))) == sent


def test_inputs_of_both_kinds_may_be_mixed() -> None:
    binary = (entry([2], "FP32", "a"), np.array([1.5, 2.5], "<f4").tobytes())
    plain = ({**entry([2], "BYTES", "b"), "data": ["x", "y"]}, b"")
    found = instances(binary, plain)
    assert found == [{"a": 1.5, "b": "x"}, {"a": 2.5, "b": "y"}]


@pytest.mark.parametrize(
    ("json_length", "change", "words"),
    [
        ("0", b"", "must be 1 to"),
        ("-1", b"", "must be 1 to"),
        ("9" * 5000, b"", "must be 1 to"),
        ("²", b"", "is for a body"),
        ("7", b"", "the first 7 bytes"),
        (None, b"more", "4 bytes of the body belong to no input"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(
    json_length: str | None, change: bytes, words: str
) -> None:
    data, length = body((entry([1], "UINT8"), b"\x01"))
    with pytest.raises(BadRequest, match=words):
        join(data + change, json_length or length)


@pytest.mark.parametrize(
    ("shape", "datatype", "data", "words"),
    [
        ([2], "FP32", b"1234", "4 bytes do not fit its shape"),
        ([2**31 - 1] * 3, "FP32", b"1234", "4 bytes do not fit its shape"),
        ([1], "BYTES", b"12", "lengths before its BYTES"),
        ([1], "BYTES", LENGTH.pack(2**32 - 1) + b"x", "lengths before its BYTES"),
        ([2], "BYTES", LENGTH.pack(1) + b"x", "a flat list of shape"),
    ],
)
def test_bytes_that_are_no_such_tensor_are_refused(
    shape: list[int], datatype: str, data: bytes, words: str
) -> None:
    with pytest.raises(BadRequest, match=words):
        instances((entry(shape, datatype), data))


@given(st.binary(max_size=60), st.text(max_size=4) | st.integers(0, 70).map(str))
def test_any_body_is_read_or_refused(data: bytes, length: str) -> None:
    with suppress(BadRequest):
        join(data, length)
