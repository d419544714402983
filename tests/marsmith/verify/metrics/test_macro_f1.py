from __future__ import annotations

import numpy as np
import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.macro_f1 import measure


def answers(labels: list[str]) -> list[dict[str, object]]:
    return [{"scores": {label: 0.9, "z": 0.1}, "tokens": 3} for label in labels]


def test_it_is_what_scikit_learn_says() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    chance = np.random.default_rng(0)
    expected = chance.choice(list("abcd"), 300, p=[0.6, 0.2, 0.15, 0.05]).tolist()
    said = [
        each if chance.random() < 0.7 else str(chance.choice(list("abcde"))) for each in expected
    ]
    wanted = metrics.f1_score(expected, said, labels=list("abcd"), average="macro", zero_division=0)
    assert measure(answers(said), expected) == pytest.approx(wanted)


def test_a_rare_label_counts_as_much_as_a_common_one() -> None:
    expected = ["a"] * 99 + ["b"]
    assert measure(answers(["a"] * 100), expected) == pytest.approx(198 / 199 / 2)
    assert measure(answers(expected), expected) == 1
    assert measure([{}] * 100, expected) == 0


def test_what_is_expected_must_be_labels() -> None:
    with pytest.raises(BuildError, match="must be strings"):
        measure(answers(["a"]), [1])  # type: ignore[list-item]
