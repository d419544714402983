"""The columns of a table: they convert rows of plain values to the model's numbers.

Their definition travels in the archive as a JSON file, which `marsmith.columns` writes:

    {"columns": [{"name": "rooms", "type": "number", "mean": 3.1, "std": 1.2},
                 {"name": "town", "type": "category", "values": ["Oslo", "Rome"]}],
     "targets": [{"name": "rent", "mean": 950.0, "std": 310.0}]}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from handlers.errors import BadRequest, LoadError
from handlers.runtimes import Tensors
from handlers.schema import SchemaError, kind, parse, setting, unknown

# In stds from the mean. None of n values is further than √n from their mean: no model was trained
# on such a value. In a batch that is quantised as a whole, it would drown its neighbours.
FURTHEST = 1e6

MISSING = (None, "")
Plain = str | float | None


@dataclass(frozen=True, kw_only=True)
class Number:
    """A column of numbers; the model gets (value - mean) / std."""

    name: str = setting("", "The name that requests use.")
    type: Literal["number"] = setting("number", "Numbers, true and false as 1 and 0.")
    mean: float = setting(0.0, "The number that is subtracted.")
    std: float = setting(1.0, "The number that is divided by; above 0.")
    fill: float | None = setting(
        None, "The number that stands for a missing value; by default the mean."
    )
    indicator: bool = setting(False, "Whether the model also gets a 1 where it is missing.")

    def usual(self) -> float:
        """The mean, to six digits where that is near enough."""
        short = float(f"{self.mean:.6g}")
        return short if abs(short - self.mean) <= self.std else self.mean

    def encode(self, value: Plain) -> list[float]:
        """Convert a value to the model's numbers: the scaled value, and the indicator if any.

        Raises:
            BadRequest: 422 when it is not a number, or too far from the mean.
        """
        missing = value in MISSING or value != value  # NaN
        if missing:
            value = self.mean if self.fill is None else self.fill
        if value is None or isinstance(value, str):
            raise BadRequest(
                f"the column {self.name!a} takes a number, not a string",
                hint="send numbers without quotes; null or nothing when it isn't known",
                status=422,
            )
        try:
            scaled = (value - self.mean) / self.std
        except OverflowError:  # an integer that no float can hold
            scaled = math.inf
        if not abs(scaled) <= FURTHEST:
            raise BadRequest(
                f"the column {self.name!a} has a number that is not finite, or further than "
                f"{FURTHEST:.0e} standard deviations from the mean, {self.mean:g}",
                hint="check its unit",
                status=422,
            )
        return [scaled, float(missing)] if self.indicator else [scaled]


@dataclass(frozen=True, kw_only=True)
class Category:
    """A column of one of several values; the model gets its number, from 1; 0 is missing."""

    name: str = setting("", "The name that requests use.")
    type: Literal["category"] = setting("category", "One of the values; integers count as text.")
    values: tuple[str, ...] = setting((), "The vocabulary, in the model's order.")

    def encode(self, value: Plain, numbers: Mapping[str, int], *, refuse: bool) -> int:
        """Convert a value to the model's number.

        Args:
            value: as a client sent it.
            numbers: the model's numbers of the vocabulary.
            refuse: whether to refuse a value outside it; otherwise it counts as missing.

        Raises:
            BadRequest: 422 when it is refused, or can't be a category.
        """
        if value in MISSING or value != value:
            return 0
        text = as_text(value)
        if text is None:
            raise BadRequest(
                f"the column {self.name!a} takes one of its values, not a number with a fraction, "
                "or one of more than 64 bits",
                status=422,
            )
        found = numbers.get(text, 0)
        if not found and refuse:
            where = f"the column {self.name!a}"
            raise BadRequest(unknown(text, self.values, where), status=422)
        return found


@dataclass(frozen=True, kw_only=True)
class Target:
    """A predicted number: the model's output × std + mean."""

    name: str = setting("", "The name that explanations use.")
    mean: float = setting(0.0, "The number that is added.")
    std: float = setting(1.0, "The number that is multiplied by; above 0.")


KINDS: dict[str, type[Number | Category]] = {"number": Number, "category": Category}


class Columns:
    """A table's columns, in their order.

    Args:
        definition: see the module.

    Attributes:
        columns: all columns.
        targets: the predicted numbers, where they are to be scaled or named.

    Raises:
        SchemaError: something in the definition isn't allowed.
    """

    def __init__(self, definition: object) -> None:
        if not isinstance(definition, Mapping) or not set(definition) <= {"columns", "targets"}:
            raise SchemaError("it must be an object of 'columns' and, if need be, 'targets'")
        self.columns = [_column(entry) for entry in _list(definition, "columns")]
        self.targets = [parse(Target, e, where="a target") for e in _list(definition, "targets")]
        if not self.columns:
            raise SchemaError("there are no columns")
        for named in (self.columns, self.targets):
            _check(named)
        self.names = [column.name for column in self.columns]
        self._known = frozenset(self.names)
        self._vocabularies = {
            column.name: {value: number for number, value in enumerate(column.values, start=1)}
            for column in self.columns
            if isinstance(column, Category)
        }

    def encode(self, row: object, *, refuse_unknown: bool = True) -> Tensors:
        """Convert a row to the model's inputs, without the batch dimension.

        Args:
            row: a mapping from columns' names to values, in which any may be absent; or all values,
                in the columns' order. A value is a number, a string, a boolean, or None.
            refuse_unknown: refuse values that a category doesn't have; otherwise they count as
                missing.

        Returns:
            "numbers", (F,) float32, scaled, and "categories", (K,) int64, as far as there are any;
            both in the columns' order. A number's indicator follows it.

        Raises:
            BadRequest: it is not such a row.
        """
        numbers: list[float] = []
        categories: list[int] = []
        for column, value in zip(self.columns, self._values(row), strict=True):
            plain = _plain(value, column.name)
            if isinstance(column, Number):
                numbers += column.encode(plain)
            else:
                known = self._vocabularies[column.name]
                categories.append(column.encode(plain, known, refuse=refuse_unknown))
        made: Tensors = {}
        if numbers:
            made["numbers"] = torch.tensor(numbers, dtype=torch.float32)
        if categories:
            made["categories"] = torch.tensor(categories, dtype=torch.int64)
        return made

    def by_column(self, attributions: Tensors) -> torch.Tensor:
        """Sum attributions of the model's inputs, each (N, inputs), by column: (N, columns)."""
        unread = {name: list(each.unbind(dim=1)) for name, each in attributions.items()}
        found = []
        for column in self.columns:
            inputs = unread["numbers" if isinstance(column, Number) else "categories"]
            found.append(inputs.pop(0))
            if isinstance(column, Number) and column.indicator:
                found[-1] = found[-1] + inputs.pop(0)
        return torch.stack(found, dim=1)

    def example(self) -> dict[str, Plain]:
        """A row of common values: means, and the first of each vocabulary."""
        return {
            column.name: column.usual() if isinstance(column, Number) else column.values[0]
            for column in self.columns
        }

    def _values(self, row: object) -> Sequence[object]:
        if isinstance(row, Mapping):
            for name in row:
                if name not in self._known:
                    message = unknown(str(name), self.names, "a row")
                    raise BadRequest(message, status=422)
            return [row.get(name) for name in self.names]
        if isinstance(row, np.ndarray):
            row = row.tolist()
        if not isinstance(row, (list, tuple)):
            raise BadRequest(
                f"a row must be an object, or a list of {len(self.names)} values, not {kind(row)}",
                hint='for several rows send {"instances": [{...}, {...}]}',
            )
        if len(row) != len(self.names):
            raise BadRequest(
                f"a row has {len(self.names)} values, from {self.names[0]!a} to "
                f"{self.names[-1]!a}; this one has {len(row)}",
                hint="or send an object of columns' names and values",
                status=422,
            )
        return row


def read(path: Path) -> Columns:
    """Read columns from a file.

    Raises:
        LoadError: there is no such file, or it doesn't define columns.
    """
    try:
        return Columns(json.loads(path.read_text("utf-8")))
    except SchemaError as error:
        raise LoadError(f"{path.name}: {error}") from None
    except (OSError, ValueError) as error:
        raise LoadError(f"the columns can't be read from {path.name}: {error}") from error


def as_text(value: str | float) -> str | None:
    """Convert a value to a category's text; None for what can't be a category."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():  # v2 tensors have no integers and text
        value = int(value)
    return str(value) if isinstance(value, int) and abs(value) < 1 << 64 else None


def _plain(value: object, name: str) -> Plain:
    """Convert a value of a v2 tensor from numpy's types to plain ones."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size == 1):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if value is None or isinstance(value, (str, int, float)):
        return value
    found = "a list" if isinstance(value, np.ndarray) else kind(value)
    raise BadRequest(f"the column {name!a} takes a single value, not {found}", status=422)


def _list(definition: Mapping[str, object], key: str) -> list[object]:
    found = definition.get(key, [])
    if not isinstance(found, list):
        raise SchemaError(f"{key!r} must be a list, not {kind(found)}")
    return found


def _column(entry: object) -> Number | Category:
    named = entry.get("type") if isinstance(entry, Mapping) else None
    if named not in ("number", "category"):
        raise SchemaError("every column must be an object whose 'type' is number or category")
    return parse(KINDS[named], entry, where="a column")


def _check(named: Sequence[Number | Category | Target]) -> None:
    names = [each.name for each in named]
    if "" in names or len(set(names)) != len(names):
        raise SchemaError("every name must be there, and unique")
    for each in named:
        if isinstance(each, Category):
            if not each.values or "" in each.values or len(set(each.values)) != len(each.values):
                raise SchemaError(f"the values of {each.name!r} must be some, unique, and not ''")
        elif each.std <= 0:
            raise SchemaError(f"'std' of {each.name!r} must be above 0")
