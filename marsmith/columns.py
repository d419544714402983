"""The columns of a table, defined by the rows that a model is trained on.

definition = columns.describe(rows, categories=["grade"])
inputs = columns.encode(definition, rows)    # what the model is trained on, and will be given
columns.write(definition, folder)            # in the recipe's `assets` function
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from handlers.runtimes import Tensors
from handlers.tables.columns import Columns, as_text
from handlers.task import stack
from marsmith.errors import BuildError

FILE = "columns.json"  # what the task reads unless it is told otherwise


@runtime_checkable
class ByColumn(Protocol):
    """Values by column: a mapping, or a pandas.DataFrame."""

    def keys(self) -> Iterable[str]:
        """The columns' names."""

    def __getitem__(self, name: str, /) -> Iterable[object]: ...


Table = ByColumn | Sequence[Mapping[str, object]]
"""Values by column, or rows."""

Definition = dict[str, list[dict[str, object]]]
"""What `handlers.tables.columns` reads, as plain JSON data."""


def describe(
    table: Table,
    *,
    categories: Collection[str] = (),
    indicators: bool = False,
    targets: Mapping[str, Iterable[float]] | None = None,
) -> Definition:
    """Define the columns of a table: the scales of numbers, the vocabularies of categories.

    None, NaN and "" are missing: they are left out here, and the mean stands for them later.

    Args:
        table: the training part, without what is predicted.
        categories: columns whose numbers are mere names; columns with text are always categories.
        indicators: add an input to each column of numbers where some are missing, which tells the
            model which ones are.
        targets: the values that a regression predicts, by name. The model must be trained on
            (value - mean) / std; its answers are scaled back.

    Raises:
        BuildError: a column has no values, or some that are neither finite numbers nor text.
    """
    columns = _by_column(table)
    if absent := sorted(set(categories) - set(columns)):
        raise BuildError(f"'categories' names {absent[0]!r}, which is no column")
    defined = []
    for name, values in columns.items():
        present = [value for value in values if not _is_missing(value)]
        if name in categories or any(isinstance(value, str) for value in present):
            defined.append(_category(name, present))
            continue
        flag = {"indicator": True} if indicators and len(present) < len(values) else {}
        defined.append({"name": name, "type": "number", **_scale(name, present), **flag})
    scales = [{"name": name, **_scale(name, _plain(y))} for name, y in (targets or {}).items()]
    return {"columns": defined, **({"targets": scales} if scales else {})}


def encode(definition: Mapping[str, object], table: Table) -> Tensors:
    """Encode a table as the model's inputs, exactly as they will be when it serves.

    Returns:
        "numbers", (N, F) float32, and "categories", (N, K) int64; see `handlers.tables.columns`.

    Raises:
        BadRequest: a row doesn't fit the definition.
    """
    columns, values = Columns(definition), _by_column(table)
    rows = zip(*values.values(), strict=True)
    return stack([columns.encode(dict(zip(values, row, strict=True))) for row in rows])


def write(definition: Mapping[str, object], folder: Path) -> None:
    """Write a definition where the task reads it: `columns.json`."""
    (folder / FILE).write_text(json.dumps(definition, indent=1, allow_nan=False), "utf-8")


def _by_column(table: Table) -> dict[str, list[object]]:
    if isinstance(table, ByColumn):
        return {str(name): _plain(table[name]) for name in table.keys()}  # noqa: SIM118 - or pandas'
    rows = list(table)
    names = dict.fromkeys(name for row in rows for name in row)
    return {str(name): _plain([row.get(name) for row in rows]) for name in names}


def _plain(values: Iterable[object]) -> list[object]:
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _is_missing(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)


def _category(name: str, present: Sequence[object]) -> dict[str, object]:
    texts = {as_text(each) if isinstance(each, (str, int, float)) else None for each in present}
    found = sorted(text for text in texts if text is not None)
    if not found or None in texts:
        raise BuildError(f"the category {name!r} must have values, all of them text or integers")
    return {"name": name, "type": "category", "values": found}


def _scale(name: str, values: Sequence[object]) -> dict[str, float]:
    """Mean and standard deviation; the latter is 1 where all values are equal."""
    if not values or not all(isinstance(value, (int, float)) for value in values):
        raise BuildError(f"{name!r} must have values, all of them numbers or all of them text")
    numbers = np.array(values, dtype=np.float64)
    with np.errstate(all="ignore"):  # an overflow shows in the mean
        mean, std = float(numbers.mean()), float(numbers.std())
    if not np.isfinite([mean, std]).all():
        raise BuildError(f"{name!r} has numbers in it that are not finite, or too large")
    return {"mean": mean, "std": std or 1.0}
