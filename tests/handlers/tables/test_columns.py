"""Columns: any row to the numbers that a model was trained on, or a refusal."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handlers.errors import BadRequest, LoadError
from handlers.tables.columns import Columns, read

DEFINITION = {
    "columns": [
        {"name": "area", "type": "number", "mean": 50.0, "std": 10.0},
        {"name": "town", "type": "category", "values": ["Oslo", "größe", "7", "true"]},
        {"name": "age", "type": "number", "mean": 4.0, "std": 2.0, "fill": 8.0, "indicator": True},
    ]
}
COLUMNS = Columns(DEFINITION)
ROW = {"area": 70, "town": "größe", "age": 5.0}
NUMBERS, CATEGORIES = [2.0, 0.5, 0.0], [2]


def encoded(row: object, **more: Any) -> tuple[list[float], list[int]]:
    tensors = COLUMNS.encode(row, **more)
    numbers, categories = tensors["numbers"], tensors["categories"]
    assert (numbers.dtype, categories.dtype) == (torch.float32, torch.int64)
    return numbers.tolist(), categories.tolist()


def refused(row: object) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        COLUMNS.encode(row)
    assert len(caught.value.message) < 600  # 80 characters of the client's, if need be escaped
    return caught.value


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        dict(reversed(ROW.items())),
        list(ROW.values()),
        {"area": np.float32(70), "town": "größe", "age": np.array([5.0])},
        {"area": np.int64(70), "town": "größe", "age": np.uint8(5)},
    ],
)
def test_objects_lists_and_tensors_are_one_row(row: object) -> None:
    assert encoded(row) == (NUMBERS, CATEGORIES)


def test_an_array_is_a_row() -> None:
    assert encoded(np.array([70.0, 7.0, 5.0], dtype=np.float32)) == (NUMBERS, [3])


@pytest.mark.parametrize("nothing", [None, "", math.nan, np.float32("nan")])
def test_what_is_missing_is_filled_and_told(nothing: object) -> None:
    wanted = ([0.0, 2.0, 1.0], [0])
    assert encoded([nothing] * 3) == wanted
    assert encoded(dict.fromkeys(ROW, nothing)) == wanted
    assert encoded({}) == wanted


@pytest.mark.parametrize(
    ("value", "number"),
    [("Oslo", 1), ("7", 3), (7, 3), (7.0, 3), (np.int64(7), 3), (True, 4), (np.bool_(True), 4)],
)
def test_a_category_is_text_or_what_reads_the_same(value: object, number: int) -> None:
    assert encoded({"town": value})[1] == [number]


def test_true_and_false_are_numbers() -> None:
    assert encoded({"area": True, "age": np.bool_(False)})[0] == pytest.approx([-4.9, -2, 0])


def test_an_unknown_value_counts_as_missing_only_if_it_is_told_to() -> None:
    assert encoded({"town": "Olso"}, refuse_unknown=False)[1] == [0]
    error = refused({"town": "Olso"})
    assert error.status == 422
    assert "'Olso' is not allowed in the column 'town'; did you mean 'Oslo'?" in error.message


@pytest.mark.parametrize(
    ("row", "status", "words"),
    [
        ({"aera": 1}, 422, "'aera' is not allowed in a row; did you mean 'area'?"),
        ({"x" * 100_000: 1}, 422, "x' is not allowed in a row"),
        ({"\ud800": 1}, 422, r"'\ud800' is not allowed"),
        ([1, "Oslo"], 422, "a row has 3 values, from 'area' to 'age'; this one has 2"),
        (np.zeros(4), 422, "this one has 4"),
        ("70", 400, "not a string"),
        (None, 400, "not null"),
        (7, 400, "not an integer"),
        (np.float32(7), 400, "not a float32"),
        ({"area": "70"}, 422, "the column 'area' takes a number, not a string"),
        ({"area": [70]}, 422, "the column 'area' takes a single value, not a list"),
        ({"area": {"a": 1}}, 422, "takes a single value, not an object"),
        ({"area": np.zeros(2)}, 422, "takes a single value, not a list"),
        ({"area": math.inf}, 422, "not finite, or further than 1e+06 standard deviations"),
        ({"area": -1e300}, 422, "from the mean, 50"),
        ({"area": 10**400}, 422, "check its unit"),
        ({"area": -(10**9)}, 422, "check its unit"),
        ({"town": 7.5}, 422, "not a number with a fraction"),
        ({"town": math.inf}, 422, "more than 64 bits"),
        ({"town": 10**5000}, 422, "more than 64 bits"),
        ({"town": ["Oslo"]}, 422, "the column 'town' takes a single value, not a list"),
        ({"town": "\ud800" * 100_000}, 422, "is not allowed in the column 'town'"),
        ({"town": False}, 422, "'false' is not allowed in the column 'town'"),
    ],
    ids=range(23),
)
def test_what_is_no_row_is_told_why(row: object, status: int, words: str) -> None:
    error = refused(row)
    assert error.status == status
    assert words in f"{error.message} {error.hint}", error.message


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["Oslo", "größe", 7, "", 10**400]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from([*ROW, "aera"]), VALUES, max_size=4)
    | st.lists(VALUES, min_size=2, max_size=4)
    | VALUES
)
@settings(max_examples=200)
@example({"area": 5e-324})
@example({"age": -1e308})
def test_any_row_is_numbers_or_the_clients_fault(row: object) -> None:
    try:
        tensors = COLUMNS.encode(row)
    except BadRequest:
        assert refused(row).status in (400, 422)
    else:
        assert tensors["numbers"].shape == (3,)
        assert torch.isfinite(tensors["numbers"]).all()
        assert 0 <= int(tensors["categories"]) <= 4


def test_a_vocabulary_of_thousands_is_not_recited() -> None:
    values = [f"item {index}" for index in range(5000)]
    columns = Columns({"columns": [{"name": "item", "type": "category", "values": values}]})
    assert columns.encode(["item 4999"])["categories"].tolist() == [5000]
    assert "numbers" not in columns.encode(["item 1"])
    with pytest.raises(BadRequest, match="and 4980 more") as caught:
        columns.encode(["no item"])
    assert len(caught.value.message) < 400


def test_attributions_of_inputs_are_summed_by_column() -> None:
    inputs = {
        "numbers": torch.tensor([[1.0, 2, 3], [4, 5, 6]]),
        "categories": torch.tensor([[10.0], [20]]),
    }
    assert COLUMNS.by_column(inputs).tolist() == [[1, 10, 5], [4, 20, 11]]


def test_the_example_is_a_row_of_what_is_common() -> None:
    assert COLUMNS.example() == {"area": 50.0, "town": "Oslo", "age": 4.0}
    assert encoded(COLUMNS.example()) == ([0, 0, 0], [1])


def column(**changes: Any) -> dict[str, Any]:
    return {"columns": [{"name": "area", "type": "number", **changes}]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "can't be read from columns.json"),
        ("{", "can't be read from columns.json"),
        ("[]", "must be an object of 'columns'"),
        ({"column": []}, "must be an object of 'columns'"),
        ({}, "there are no columns"),
        ({"columns": {}}, "'columns' must be a list, not an object"),
        ({"columns": [1]}, "'type' is number or category"),
        (column(type="text"), "'type' is number or category"),
        (column(type=[]), "'type' is number or category"),
        (column(name=""), "every name must be there, and unique"),
        ({"columns": column()["columns"] * 2}, "every name must be there, and unique"),
        (column(std=0), "'std' of 'area' must be above 0"),
        (column(std=-1.0), "'std' of 'area' must be above 0"),
        (column(mean=None), "'mean' in a column must be a number"),
        (column(median=1), "'median' is not allowed in a column; did you mean 'mean'?"),
        (column(type="category"), "the values of 'area' must be some, unique"),
        (column(type="category", values=["a", "a"]), "the values of 'area' must be some, unique"),
        (column(type="category", values=["a", ""]), "the values of 'area' must be some, unique"),
        ({**column(), "targets": [{"name": "y", "std": 0}]}, "'std' of 'y' must be above 0"),
        ({**column(), "targets": [{}]}, "every name must be there"),
    ],
)
def test_a_definition_that_cannot_work_is_refused(
    tmp_path: Path, content: object, words: str
) -> None:
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "columns.json").write_text(text)
    with pytest.raises(LoadError) as caught:
        read(tmp_path / "columns.json")
    assert words in str(caught.value)
    assert "columns.json" in str(caught.value)


def test_the_example_of_a_column_that_never_differs_can_be_served() -> None:
    column = {"name": "t", "type": "number", "mean": 1767225600123.0, "std": 1.0}
    found = Columns({"columns": [column]})
    assert found.encode(found.example())["numbers"].tolist() == [0]
