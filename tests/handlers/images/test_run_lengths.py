from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from handlers.images.run_lengths import decode, encode


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_runs_are_the_numbers_again(numbers: list[int]) -> None:
    values, lengths = encode(np.array(numbers, np.uint8))
    assert decode(values, lengths).tolist() == numbers
    assert min(lengths) >= 1
    assert all(one != other for one, other in itertools.pairwise(values))
    assert all(type(each) is int for each in (*values, *lengths))
