from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.r2 import measure


def answers(*values: float | list[float]) -> list[dict[str, object]]:
    return [{"prediction": value} for value in values]


def test_one_is_perfect_and_nought_is_the_mean() -> None:
    assert measure(answers(1.0, 2.0, 3.0), [1, 2, 3]) == 1
    assert measure(answers(2.0, 2.0, 2.0), [1, 2, 3]) == 0
    assert measure(answers(1.0, 2.0, 2.0), [1, 2, 3]) == pytest.approx(0.5)


def test_several_targets_count_the_same() -> None:
    found = answers([1.0, 200.0], [3.0, 200.0])
    assert measure(found, [[1, 100], [3, 300]]) == pytest.approx(0.5)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(BuildError, match=r"compares \(2,\) numbers with \(2, 1\) predictions"):
        measure(answers([1.0], [2.0]), [1, 2])
    with pytest.raises(BuildError, match="that differ"):
        measure(answers(1.0, 2.0), [3, 3])
