"""The names of classes, a JSON list that travels in the archive, and their scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from handlers.errors import LoadError, ModelError
from handlers.runtimes import Tensors

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda scores: scores,
    "sigmoid": torch.sigmoid,
    "softmax": partial(torch.softmax, dim=-1),
}


def read(path: Path) -> list[str]:
    """Read labels.

    Raises:
        LoadError: no such file, or not a JSON list of unique strings.
    """
    try:
        labels = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"the labels can't be read from {path.name}: {error}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise LoadError(f"{path.name} must be a JSON list of strings")
    if len(set(labels)) != len(labels):
        raise LoadError(f"the labels in {path.name} must be unique")
    return labels


def of(labels: list[str] | None, classes: int) -> list[str]:
    """The names of a model's classes; their numbers when there are no labels.

    Raises:
        ModelError: there are labels, but not as many as classes.
    """
    names = labels or [str(index) for index in range(classes)]
    if len(names) != classes:
        raise ModelError(
            f"{len(names)} labels for {classes} classes",
            hint="the labels' file must name every class that the model answers, in their order,"
            " a background too where it has one",
        )
    return names


def logits(outputs: Tensors) -> torch.Tensor:
    """The first of a model's outputs, (N, classes).

    Raises:
        ModelError: it has another shape.
    """
    found = next(iter(outputs.values()))
    if found.ndim != 2:
        raise ModelError(f"a classifier answers (N, classes), this one {tuple(found.shape)}")
    return found


def best(
    scores: torch.Tensor, labels: list[str] | None, counts: Sequence[int]
) -> list[tuple[list[str], list[float]]]:
    """The labels of the highest scores, and these, best first.

    Args:
        scores: (N, classes).
        labels: the names of the classes, if they have any.
        counts: how many are wanted of each row; at most all there are.
    """
    names = of(labels, scores.shape[1])
    values, order = scores.topk(min(len(names), max(counts)))
    rows = zip(order.tolist(), values.tolist(), counts, strict=True)
    return [([names[i] for i in places[:k]], found[:k]) for places, found, k in rows]
