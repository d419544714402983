"""Entities: stretches of a text that have one label, from the labels of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Aggregation = Literal["none", "simple", "first", "average", "max"]

OUTSIDE = "O"
SCHEME = frozenset("BIESLU")  # of BIO, BIOES and BILOU
BEGINS, ENDS = frozenset("BSU"), frozenset("ESLU")


@dataclass(frozen=True)
class Entity:
    """An entity; its text is from `start` to `end`, in code points."""

    label: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Unit:
    """A token, or a word of several tokens, with one label."""

    label: str
    score: float
    start: int
    end: int


class Labels:
    """The names of classes, and what their prefixes mean.

    Prefixes count where every name but "O" has one, such as "B-" in "B-PER".

    Args:
        names: in the order of the model's scores.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        inside = [name for name in names if name != OUTSIDE]
        self.prefixed = bool(inside) and all(
            name[:1] in SCHEME and name[1:2] == "-" for name in inside
        )

    def parts(self, name: str) -> tuple[str, str]:
        """The prefix and the label of a name; the prefix "I" where it has none."""
        if self.prefixed and name != OUTSIDE:
            return name[0], name[2:]
        return "I", name


def decode(
    scores: NDArray[np.float32],
    spans: Sequence[tuple[int, int]],
    begins: Sequence[bool],
    labels: Labels,
    aggregation: Aggregation,
) -> list[Entity]:
    """Find the entities of a text, in its order; tokens labelled "O" are in none.

    Args:
        scores: (T, classes) float32 probabilities of each token's labels.
        spans: where each token is in the text.
        begins: whether a word begins with each token.
        labels: the names of the classes.
        aggregation: "none" answers tokens, with the labels' full names; "simple" joins tokens
            that follow each other with one label; the others give every word the label of its first
            token, of its surest, or of the average of all, then join words.

    See: `TokenClassificationPipeline` in transformers, which has the same results for labels in
    BIO. In BIOES and BILOU, the prefixes for ends and for single tokens count, too.
    """
    if aggregation in ("none", "simple"):
        groups = [[place] for place in range(len(spans))]
    else:
        groups = _words(begins)
    units = [_unit(scores, spans, group, labels, aggregation) for group in groups]
    if aggregation == "none":
        return [Entity(**vars(unit)) for unit in units if unit.label != OUTSIDE]
    return _joined(units, labels)


def _words(begins: Sequence[bool]) -> list[list[int]]:
    groups: list[list[int]] = []
    for place, begin in enumerate(begins):
        if begin or not groups:
            groups.append([])
        groups[-1].append(place)
    return groups


def _unit(
    scores: NDArray[np.float32],
    spans: Sequence[tuple[int, int]],
    group: Sequence[int],
    labels: Labels,
    aggregation: Aggregation,
) -> Unit:
    if aggregation == "average":
        row = scores[group].mean(axis=0)
    elif aggregation == "max":
        row = scores[group[int(scores[group].max(axis=1).argmax())]]
    else:
        row = scores[group[0]]
    best = int(row.argmax())
    return Unit(labels.names[best], float(row[best]), spans[group[0]][0], spans[group[-1]][1])


def _joined(units: Sequence[Unit], labels: Labels) -> list[Entity]:
    groups: list[list[Unit]] = []
    before = ("", "")
    for unit in units:
        prefix, label = labels.parts(unit.label)
        closed = labels.prefixed and before[0] in ENDS
        if label == before[1] and prefix not in BEGINS and not closed:
            groups[-1].append(unit)
        else:
            groups.append([unit])
        before = (prefix, label)
    return [
        Entity(
            labels.parts(group[0].label)[1],
            float(np.mean([unit.score for unit in group])),
            group[0].start,
            group[-1].end,
        )
        for group in groups
        if group[0].label != OUTSIDE
    ]


def apart(entities: Sequence[Entity]) -> list[Entity]:
    """Keep the longest of entities that share characters; the surest of equally long ones.

    Args:
        entities: in the order of the text.
    """
    kept: list[Entity] = []
    for entity in entities:
        if not kept or entity.start >= kept[-1].end:
            kept.append(entity)
        elif _weight(entity) > _weight(kept[-1]):
            kept[-1] = entity
    return kept


def _weight(entity: Entity) -> tuple[int, float]:
    return entity.end - entity.start, entity.score
