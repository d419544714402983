"""The names of classes: a JSON list that travels in the archive."""

from __future__ import annotations

import json
from pathlib import Path

from handlers.errors import LoadError, ModelError


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
        raise ModelError(f"{len(names)} labels for {classes} classes")
    return names
