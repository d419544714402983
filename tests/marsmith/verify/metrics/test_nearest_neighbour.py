from __future__ import annotations

import pytest

from marsmith.verify.metrics.nearest_neighbour import measure


def test_it_counts_neighbours_of_the_same_label() -> None:
    vectors = ([1.0, 0.0], [0.8, 0.6], [0.0, 1.0])
    answers = [{"embedding": vector} for vector in vectors]
    assert measure(answers, ["a", "a", "b"]) == pytest.approx(2 / 3)
    assert measure(answers, ["a", "b", "c"]) == 0
