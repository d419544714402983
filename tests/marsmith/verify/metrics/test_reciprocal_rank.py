"""How early what is relevant comes."""

from __future__ import annotations

import pytest

from marsmith.verify.metrics.reciprocal_rank import measure


def test_the_first_relevant_one_counts() -> None:
    answers = [{"results": [{"index": place} for place in order]} for order in ([2, 0, 1], [1, 0])]
    assert measure(answers, [[2], [0]]) == pytest.approx((1 + 1 / 2) / 2)
    assert measure(answers, [[1, 0], [7]]) == pytest.approx((1 / 2 + 0) / 2)
