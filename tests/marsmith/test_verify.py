from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marsmith.errors import BuildError, GateError
from marsmith.recipe import Accept
from marsmith.verify import Rung, compare, difference, gate

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def rung(**changes: object) -> Rung:
    known = {"metric": 0.99, "max_abs_error": 1e-6, "min_cosine": 1.0}
    return Rung("converted", batch_sizes=(1,), samples=1, **{**known, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "accept", "number"),
    [
        ({"metric": 0.97}, {"metric_at_least": 0.98}, "0.9700 < metric_at_least 0.98"),
        ({"metric": 0.97}, {"metric_max_drop": 0.01}, "drop 0.0200 > metric_max_drop 0.01"),
        ({"max_abs_error": 0.1}, {"max_abs_error": 0.01}, "0.1 > max_abs_error 0.01"),
        ({"max_abs_error": math.inf}, {"max_abs_error": 1.0}, "inf > max_abs_error"),
        ({"min_cosine": 0.9}, {}, "0.9000 < min_cosine 0.99"),
        ({"min_cosine": math.nan}, {}, "nan < min_cosine"),
    ],
)
def test_a_missed_bound_is_named(
    changes: dict[str, float], accept: dict[str, float], number: str
) -> None:
    with pytest.raises(GateError, match="refused") as caught:
        gate(rung(**changes), rung(), Accept(**accept))  # type: ignore[arg-type]
    assert number in caught.value.message


def test_all_missed_bounds_are_named() -> None:
    with pytest.raises(GateError, match=r"metric .*; .*error"):
        gate(rung(metric=0.5, max_abs_error=1.0), rung(), Accept(max_abs_error=0.1))


def test_a_rung_within_its_bounds_passes() -> None:
    gate(rung(metric=0.985), rung(), Accept(metric_at_least=0.98, max_abs_error=1e-5))


def test_outputs_are_compared_sample_by_sample() -> None:
    reference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    turned = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert compare({"a": reference}, {"a": reference}) == (0.0, 1.0)
    assert compare({"a": turned}, {"b": reference}) == (1.0, 0.0)


def test_a_nan_is_as_wrong_as_can_be() -> None:
    error, cosine = compare({"a": torch.tensor([[math.nan]])}, {"a": torch.tensor([[1.0]])})
    assert (error, cosine) == (math.inf, -1.0)
    with pytest.raises(GateError):
        gate(rung(min_cosine=cosine), rung(), Accept())


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(BuildError, match=r"\(1, 2\)"):
        compare({"a": torch.zeros(1, 2)}, {"a": torch.zeros(1, 3)})


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
