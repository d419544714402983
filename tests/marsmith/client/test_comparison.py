from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsmith.client.comparison import difference

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_equal_answers_do_not_differ(value: object) -> None:
    assert difference(value, value) == 0


@given(st.lists(NUMBERS, min_size=1), NUMBERS)
def test_the_largest_difference_counts(values: list[float], shift: float) -> None:
    moved = [*values[:-1], values[-1] + shift]
    expected = abs(moved[-1] - values[-1])
    assert difference({"a": moved}, {"a": values}) == expected


@pytest.mark.parametrize(("one", "other"), [({"a": 1}, {"b": 1}), ([1], [1, 2]), ("a", "b")])
def test_answers_of_another_form_differ_infinitely(one: object, other: object) -> None:
    assert difference(one, other) == math.inf


@given(st.floats(1.0, 1e6), st.floats(0.0, 1.0))
def test_a_difference_from_a_large_number_may_be_relative(number: float, share: float) -> None:
    found = difference([number * (1 + share)], [number], relative=True)
    assert found == pytest.approx(share, abs=1e-9)
    assert difference([share], [0.0], relative=True) == share


@pytest.mark.parametrize("at", [0, 1])
def test_a_number_that_is_none_is_infinitely_far(at: int) -> None:
    answers: list[object] = [1.0, 2.0]
    answers[at] = math.nan
    wanted = {"a": [1.0, 2.0], "b": "same"}
    assert difference({"a": answers, "b": "same"}, wanted) == math.inf
    assert difference(answers, answers) == difference([math.inf], [math.inf]) == 0.0
