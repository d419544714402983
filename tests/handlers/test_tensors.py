from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.errors import BadRequest
from handlers.tensors import to_array


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
