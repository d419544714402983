"""Labels of tokens to entities, in every scheme."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from handlers.text.entities import Aggregation, Entity, Labels, apart, decode

NAMES = ["O", *(f"{prefix}-{tag}" for tag in "XY" for prefix in "BIESLU")]


def found(labels: str, how: Aggregation = "simple", names: list[str] = NAMES) -> list[str]:
    """The entities of tokens of one character each, as "X0:2"."""
    tokens = labels.split()
    scores = np.full((len(tokens), len(names)), 0.01, dtype=np.float32)
    scores[range(len(tokens)), [names.index(label) for label in tokens]] = 0.9
    spans = [(place, place + 1) for place in range(len(tokens))]
    entities = decode(scores, spans, [True] * len(tokens), Labels(names), how)
    assert all(entity.score == pytest.approx(0.9) for entity in entities)
    return [f"{each.label}{each.start}:{each.end}" for each in entities]


@pytest.mark.parametrize(
    ("labels", "entities"),
    [
        ("O O", []),
        ("B-X I-X O B-Y", ["X0:2", "Y3:4"]),
        ("B-X B-X I-X", ["X0:1", "X1:3"]),
        ("I-X I-X O I-X", ["X0:2", "X3:4"]),  # as IOB1 has it
        ("B-X I-Y", ["X0:1", "Y1:2"]),
        ("B-X I-X E-X S-X B-X E-X", ["X0:3", "X3:4", "X4:6"]),
        ("S-X I-X", ["X0:1", "X1:2"]),  # a single one is over
        ("B-X L-X U-X I-X", ["X0:2", "X2:3", "X3:4"]),
    ],
)
def test_tokens_are_joined_by_their_prefixes(labels: str, entities: list[str]) -> None:
    assert found(labels) == entities


def test_tokens_as_they_are() -> None:
    assert found("B-X I-X O", "none") == ["B-X0:1", "I-X1:2"]


def test_labels_without_prefixes_are_joined_where_alike() -> None:
    names = ["NOUN", "B-SIDE", "S-Bahn", "O"]  # not all of them have one
    assert not Labels(names).prefixed
    assert found("NOUN NOUN B-SIDE B-SIDE S-Bahn O", names=names) == [
        "NOUN0:2",
        "B-SIDE2:4",
        "S-Bahn4:5",
    ]
    assert not Labels(["O"]).prefixed


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("first", [("X", 0.6, 0, 3), ("Y", 0.9, 4, 5)]),
        ("max", [("Y", 0.8, 0, 5)]),
        ("average", [("Y", 0.725, 0, 5)]),
    ],
)
def test_a_word_has_one_label(how: Any, wanted: list[tuple[str, float, int, int]]) -> None:
    scores = np.array([[0, 0.6, 0.4], [0, 0.3, 0.7], [0.1, 0, 0.9]], dtype=np.float32)
    spans, begins = [(0, 2), (2, 3), (4, 5)], [True, False, True]
    entities = decode(scores, spans, begins, Labels(["O", "I-X", "I-Y"]), how)
    assert [(e.label, e.start, e.end) for e in entities] == [(w[0], *w[2:]) for w in wanted]
    assert [e.score for e in entities] == pytest.approx([w[1] for w in wanted])


def test_of_two_that_share_characters_the_longer_is_kept() -> None:
    one, two, three = Entity("A", 0.9, 0, 2), Entity("B", 0.5, 1, 4), Entity("C", 0.6, 4, 5)
    assert apart([one, two, three]) == [two, three]
    assert apart([one, Entity("B", 0.95, 0, 2)]) == [Entity("B", 0.95, 0, 2)]
    assert apart([]) == []
