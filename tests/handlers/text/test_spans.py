"""The best spans are those that trying all of them finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handlers.text.spans import best


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 9), st.integers(1, 12))
def test_they_are_the_best_of_all(seed: int, windows: int, length: int, longest: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    starts, ends = (torch.randn(windows, length, generator=generator) * 3 for _ in range(2))
    allowed = torch.rand(windows, length, generator=generator) < 0.6
    allowed[:, 0] = False
    null = torch.zeros_like(allowed)
    null[:, 0] = True
    found, none = best(starts, ends, allowed, null, count=10**6, longest=longest)
    wanted, nulls = [], []
    for window in range(windows):
        known = (allowed | null)[window].numpy()
        first, last = (
            np.where(known, np.exp(each[window].double().numpy()), 0) for each in (starts, ends)
        )
        first, last = first / first.sum(), last / last.sum()
        nulls.append(first[0] * last[0])
        wanted += [
            (first[i] * last[j], window, i, j)
            for i in range(1, length)
            for j in range(i, min(length, i + longest))
            if allowed[window, i] and allowed[window, j]
        ]
    assert none == pytest.approx(min(nulls), abs=1e-6)
    wanted.sort(reverse=True)
    assert [span.score for span in found] == pytest.approx([each[0] for each in wanted], abs=1e-6)
    places = {(span.window, span.first, span.last) for span in found}
    assert places == {each[1:] for each in wanted}


def test_where_nothing_is_allowed_nothing_is_found() -> None:
    logits, nothing = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    assert best(logits, logits, nothing, nothing, count=5, longest=5) == ([], 0.0)


def test_no_more_are_given_than_asked_for() -> None:
    logits, all_of_them = torch.zeros(1, 30), torch.ones(1, 30, dtype=torch.bool)
    spans, none = best(logits, logits, all_of_them, ~all_of_them, count=3, longest=4)
    assert (len(spans), none) == (3, 0.0)
