"""Windows over two texts; in test_tokens, what is cut off is compared with another's cutting."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.errors import BadRequest
from handlers.text import cutting


def sequences(first: int, second: int) -> list[int | None]:
    """Of two texts and what a BERT puts around them."""
    return [None, *[0] * first, None, *[1] * second, None]


@given(st.integers(0, 9), st.integers(0, 99), st.integers(13, 40), st.integers(0, 8))
def test_windows_have_every_token_and_share_the_overlap(
    first: int, second: int, most: int, overlap: int
) -> None:
    of = sequences(first, second)
    asked = partial(cutting.windows, of, most, moving=1, overlap=overlap, limit=100, truncate=False)
    room = most - (3 + first)
    if second > room <= overlap:
        with pytest.raises(BadRequest, match="no room for both texts"):
            asked()
        return
    found, cut = asked()
    assert not cut
    assert {place for window in found for place in window} == set(range(len(of)))
    parts = [[place for place in window if of[place] == 1] for window in found]
    for window, part in zip(found, parts, strict=True):
        assert window == sorted(window)
        assert len(window) - len(part) == 3 + first  # all but the moving text is in each
        assert len(window) <= most
    for one, other in pairwise(parts):
        assert len({*one} & {*other}) == overlap


def test_what_lies_behind_the_last_window_is_cut_or_refused() -> None:
    of = sequences(2, 30)
    found, cut = cutting.windows(of, 15, moving=1, overlap=2, limit=2, truncate=True)
    assert (len(found), cut) == (2, True)
    with pytest.raises(BadRequest, match="needs 4 windows of 15 tokens; at most 2") as caught:
        cutting.windows(of, 15, moving=1, overlap=2, limit=2, truncate=False)
    assert caught.value.status == 413


def test_nothing_may_be_left_of_neither_text() -> None:
    assert cutting.first(sequences(9, 9), 7, "longest_first") == [0, 1, 2, 10, 11, 12, 20]
    with pytest.raises(BadRequest, match="no room for both texts in 7 tokens"):
        cutting.first(sequences(9, 9), 7, "only_first")
