"""What is known of a table's columns, from rows or from arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers.tables.columns import read
from marsmith import columns
from marsmith.errors import BuildError

ROWS: list[dict[str, object]] = [
    {"area": 10, "town": "Rome", "floor": 2, "age": 1.0},
    {"area": 30, "town": "Oslo", "floor": 10, "age": None},
    {"area": 20.0, "town": None, "floor": 2, "age": math.nan},
    {"area": 20, "town": "", "age": 3.0},
]
ARRAYS: dict[str, Iterable[object]] = {
    "area": np.array([10, 30, 20, 20], dtype=np.int32),
    "town": np.array(["Rome", "Oslo", None, ""], dtype=object),
    "floor": [2, 10, 2, None],
    "age": np.array([1, np.nan, np.nan, 3], dtype=np.float32),
}


class Frame:
    """What a pandas.DataFrame is to us: keys, and a column by its name."""

    def keys(self) -> list[str]:
        return list(ARRAYS)

    def __getitem__(self, name: str) -> Iterator[object]:
        return iter(ARRAYS[name])


@pytest.mark.parametrize("table", [ROWS, ARRAYS, Frame()], ids=["rows", "arrays", "frame"])
def test_rows_arrays_and_frames_are_one_table(table: columns.Table) -> None:
    found = columns.describe(table, categories=["floor"], indicators=True)
    assert json.loads(json.dumps(found)) == {
        "columns": [
            {"name": "area", "type": "number", "mean": 20.0, "std": pytest.approx(50**0.5)},
            {"name": "town", "type": "category", "values": ["Oslo", "Rome"]},
            {"name": "floor", "type": "category", "values": ["10", "2"]},
            {"name": "age", "type": "number", "mean": 2.0, "std": 1.0, "indicator": True},
        ]
    }
    assert columns.encode(found, table)["numbers"][:, 1:].tolist() == [
        [-1, 0],
        [0, 1],
        [0, 1],
        [1, 0],
    ]
    assert columns.encode(found, table)["categories"].tolist() == [[2, 2], [1, 1], [0, 2], [0, 0]]


def test_what_is_written_is_what_the_task_reads(tmp_path: Path) -> None:
    found = columns.describe(ROWS, targets={"rent": [1.0, 3.0, 1.0, 3.0]})
    columns.write(found, tmp_path)
    known = read(tmp_path / "columns.json")
    assert known.names == ["area", "town", "floor", "age"]
    assert [(each.name, each.mean, each.std) for each in known.targets] == [("rent", 2.0, 1.0)]


def test_what_never_differs_is_not_divided_by_nothing() -> None:
    found = columns.describe({"a": [7, 7]})
    assert found["columns"][0] == {"name": "a", "type": "number", "mean": 7.0, "std": 1.0}


@pytest.mark.parametrize(
    ("table", "more", "words"),
    [
        ({"a": [1]}, {"categories": ["b"]}, "names 'b', which is no column"),
        ({"a": [None, ""]}, {}, "'a' must have values"),
        ({"a": [[1], [2]]}, {}, "all of them numbers or all of them text"),
        ({"a": [1, math.inf]}, {}, "not finite"),
        ({"a": ["x", [1]]}, {}, "the category 'a' must have values"),
        ({"a": [0.5]}, {"categories": ["a"]}, "the category 'a' must have values"),
        ({"a": [1]}, {"targets": {"y": ["z"]}}, "'y' must have values"),
    ],
)
def test_what_is_no_table_is_told_why(
    table: columns.Table, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(BuildError, match=words):
        columns.describe(table, **more)
