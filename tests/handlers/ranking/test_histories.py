from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.errors import BadRequest
from handlers.ranking import histories

IDS = st.lists(st.integers() | st.text(), max_size=5)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["history", "features", "x"]), inner)
    ),
    max_leaves=8,
)


@given(IDS)
def test_a_history_is_the_same_in_every_form(ids: list[Any]) -> None:
    written = json.dumps(ids)
    forms: list[Any] = [ids, written, written.encode(), {"history": ids}, {"history": written}]
    for form in forms:
        assert histories.read(form) == (ids, None)
    assert histories.read(np.array([3, 4])) == ([3, 4], None)


@given(ANYTHING)
def test_whatever_comes_is_read_or_refused(instance: Any) -> None:
    with suppress(BadRequest):
        history, _ = histories.read(instance)
        assert isinstance(history, list)


def test_features_come_in_the_order_of_their_names() -> None:
    names = ["age", "visits"]
    assert histories.numbers({"visits": 3, "age": 40.5}, names) == [40.5, 3]
    assert histories.numbers([40.5, 3], names) == [40.5, 3]
    assert histories.numbers(None, names) == [0, 0]


@pytest.mark.parametrize(
    ("features", "status", "words"),
    [
        ([1], 422, "must be 2 numbers, not 1"),
        ("old", 400, "must be an object or a list"),
        ({"age": 1}, 422, "lacks visits"),
        ({"age": 1, "visit": 2}, 422, "did you mean 'visits'"),
        ({"age": 1, "visits": True}, 400, "must be a number, not a boolean"),
        ({"age": 1, "visits": float("nan")}, 422, "must be a finite float32"),
        ({"age": 1, "visits": 10**40}, 422, "must be a finite float32"),
    ],
)
def test_features_that_are_not_those_are_told(features: Any, status: int, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        histories.numbers(features, ["age", "visits"])
    assert caught.value.status == status
