from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.errors import BadRequest
from handlers.protocols.tensors import columns, names, to_array
from handlers.task import Answer
from tests.support.answers import plain


def test_one_long_string_among_numbers_takes_no_memory() -> None:
    # As a numpy array of strings it would have 12 TB.
    data: list[Any] = [1] * 1_000_000
    data.append("x" * 3_000_000)
    with pytest.raises(BadRequest, match="not a number"):
        to_array(data, "the list")


@given(st.recursive(st.lists(st.floats() | st.integers()), st.lists, max_leaves=30))
def test_to_array_takes_what_numpy_takes(data: list[Any]) -> None:
    try:
        expected = np.asarray(data)
    except (ValueError, OverflowError):
        expected = np.asarray(None)
    if expected.dtype.kind in "iuf":
        np.testing.assert_array_equal(to_array(data, "it"), expected)
    else:
        with pytest.raises(BadRequest):
            to_array(data, "it")


@dataclass(frozen=True)
class Found(Answer):
    names: list[str]
    boxes: list[list[float]]
    late: bool

    ragged: ClassVar[Mapping[str, tuple[int, ...]]] = {"names": (), "boxes": (4,)}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_ragged_fields_are_tensors_whose_rows_counts_tell_apart(sizes: list[int]) -> None:
    answers = [
        Found([f"{row}-{i}" for i in range(size)], [[row, i, 0.5, 1.0] for i in range(size)], False)
        for row, size in enumerate(sizes)
    ]
    outputs = {each["name"]: each for each in plain([c.to_json() for c in columns(answers)])}
    assert list(outputs) == names(Found) == ["names", "boxes", "late", "counts"]
    assert outputs["counts"] == {
        "name": "counts", "shape": [len(sizes)], "datatype": "INT64", "data": sizes,
    }  # fmt: skip
    assert [outputs[name]["datatype"] for name in ("names", "boxes")] == ["BYTES", "FP32"]
    boxes = np.array(outputs["boxes"]["data"], np.float32).reshape(outputs["boxes"]["shape"])
    edges = np.cumsum(sizes)[:-1]
    for answer, its, named in zip(
        answers, np.split(boxes, edges), np.split(outputs["names"]["data"], edges), strict=True
    ):
        assert its.tolist() == answer.boxes
        assert named.tolist() == answer.names
