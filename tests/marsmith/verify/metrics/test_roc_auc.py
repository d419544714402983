from __future__ import annotations

import numpy as np
import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.roc_auc import Classified, measure


def answers(scores: np.ndarray, names: str) -> list[Classified]:
    return [{"probabilities": dict(zip(names, row, strict=True))} for row in scores.tolist()]


def test_it_is_what_scikit_learn_says() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    chance = np.random.default_rng(0)
    for names in ("ab", "abcd"):
        labels = chance.choice(list(names), 200)
        scores = chance.dirichlet([1.0] * len(names), 200).round(1)  # with ties
        scores[:, 0] += 1 - scores.sum(axis=1)
        score = scores[:, 1] if len(names) == 2 else scores
        wanted = metrics.roc_auc_score(labels, score, multi_class="ovr")
        assert measure(answers(scores, names), labels.tolist()) == pytest.approx(wanted)


def test_a_perfect_order_is_one_and_no_order_a_half() -> None:
    found = answers(np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]), "ab")
    assert measure(found, ["a", "b", "b"]) == 1
    assert measure(found, ["b", "a", "a"]) == 0
    assert measure(answers(np.full((3, 2), 0.5), "ab"), ["a", "b", "b"]) == 0.5


@pytest.mark.parametrize("expected", [["a", "a"], ["a", "c"]])
def test_there_must_be_labels_to_tell_apart(expected: list[str]) -> None:
    with pytest.raises(BuildError, match="two labels or more"):
        measure(answers(np.full((2, 2), 0.5), "ab"), expected)
