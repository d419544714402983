"""Tabular prediction: a row of numbers and categories in, a label or a number out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from handlers import base, explanations, labels
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.explanations import Explainer
from handlers.protocols import json_text
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, object_schema, setting
from handlers.tables import columns
from handlers.tables.column_attributions import ColumnAttributions
from handlers.task import Answer, Config, Sample
from handlers.tensors import numpy_files

# What JSON may have in a column of each type.
VALUES = {
    "number": ["number", "boolean", "null"],
    "category": ["string", "integer", "null"],
    "any": ["number", "string", "boolean", "null"],
}


@dataclass(frozen=True, kw_only=True)
class TabularConfig(Config):
    """How a row becomes the model's inputs, and what its outputs mean."""

    kind: Literal["classification", "regression"] = setting(
        "classification", "Whether the outputs are logits of classes, or numbers."
    )
    columns: str = setting("columns.json", "A file in the archive, as marsmith.columns writes it.")
    labels: str | None = setting(None, "A JSON file in the archive: a list of unique names.")
    unknown: Literal["refuse", "missing"] = setting(
        "refuse", "How to treat a category value that training never saw."
    )


@dataclass(frozen=True, kw_only=True)
class TabularOptions:
    """The options of a request."""

    top_k: int | None = setting(
        None, "How many of the likeliest labels to answer, with probabilities; all by default.",
        minimum=1,
    )  # fmt: skip


@dataclass(frozen=True)
class Prediction(Answer):
    """The prediction: of a regression, a number, or one for each target in order."""

    prediction: str | float | list[float]

    @classmethod
    def schema(cls) -> JsonObject:
        """An object with the prediction and, for a classification, probabilities, best first."""
        numbers: JsonObject = {"type": "array", "items": {"type": "number"}}
        probability: JsonObject = {"type": "number", "minimum": 0, "maximum": 1}
        return object_schema(
            {"prediction": {"anyOf": [{"type": "string"}, {"type": "number"}, numbers]}},
            {"probabilities": {"type": "object", "additionalProperties": probability}},
        )


@dataclass(frozen=True)
class RowLabels(Prediction):
    """The likeliest label, and labels with their probabilities, best first."""

    labels: list[str]
    probabilities: list[float]

    def to_json(self) -> JsonObject:
        """Label to probability, best first."""
        scores = dict(zip(self.labels, self.probabilities, strict=True))
        return {"prediction": self.prediction, "probabilities": scores}


_Sample = Sample[TabularOptions, None]


class Tabular(base.Handler[TabularConfig, TabularOptions, None], Explainer[None]):
    """Predicts from rows; see `tables.columns` for what a row is, and for the model's inputs.

    A classifier answers (N, classes) logits, or with two classes the second's alone, (N,) or
    (N, 1); a regression (N,) or (N, targets), which are scaled back.
    """

    Config = TabularConfig
    Options = TabularOptions
    Answer = Prediction
    Explanation = ColumnAttributions

    def setup(self, folder: Path) -> None:
        """Read the columns and the labels."""
        self.columns = columns.read(folder / self.config.columns)
        self.names: list[str] | None = [target.name for target in self.columns.targets] or None
        if self.config.kind == "regression" and self.config.labels:
            raise LoadError("'labels' are for a classification, not for a regression")
        if self.config.kind == "classification":
            self.names = labels.read(folder / self.config.labels) if self.config.labels else None

    def decode(self, instance: object, options: TabularOptions) -> _Sample:
        """Convert a row to "numbers", (F,) float32, and "categories", (K,) int64."""
        row, alone = numpy_files.opened(instance), len(self.columns.names) == 1
        if isinstance(row, bytes) or (isinstance(row, str) and not alone):
            row = _parsed(row)
        if alone and (row is None or isinstance(row, (str, int, float, np.generic))):
            row = [row]
        refuse = self.config.unknown == "refuse"
        return Sample(self.columns.encode(row, refuse_unknown=refuse), options, None)

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> Sequence[Prediction]:
        """Answer a label and probabilities, best first; or a number for each target."""
        found = self._found(outputs)
        if self.config.kind == "regression":
            return [Prediction(row[0] if len(row) == 1 else row) for row in found.tolist()]
        if found.shape[1] == 1:
            found = torch.cat([torch.zeros_like(found), found], dim=1)
        names = labels.of(self.names, found.shape[1])
        scores, order = torch.softmax(found, dim=1).sort(descending=True, stable=True)
        return [
            RowLabels(names[best[0]], [names[i] for i in best[:k]], values[:k])
            for best, values, k in zip(
                order.tolist(), scores.tolist(), (s.options.top_k for s in samples), strict=True
            )
        ]

    def explainer(self) -> Explainer[None]:
        """Return itself."""
        return self

    def explained(self, outputs: Tensors) -> torch.Tensor:
        """The predicted numbers, (N, targets); or the logits, (N, classes)."""
        found = self._found(outputs)
        binary = self.config.kind == "classification" and found.shape[1] == 1
        return torch.cat([-found, found], dim=1) if binary else found

    def targets(
        self, outputs: Tensors, samples: Sequence[Sample[explanations.ExplanationOptions, None]]
    ) -> torch.Tensor:
        """The target that a request names; or else the likeliest label, or the first number."""
        found = self.explained(outputs)
        first = torch.zeros(len(samples), dtype=torch.int64)
        best = found.argmax(dim=1) if self.config.kind == "classification" else first
        return explanations.classes(best, labels.of(self.names, found.shape[1]), samples)

    def explanation(
        self,
        attributions: Tensors,
        targets: torch.Tensor,
        samples: Sequence[Sample[explanations.ExplanationOptions, None]],
    ) -> list[ColumnAttributions]:
        """One number per column."""
        names = self.names or [str(index) for index in range(int(targets.max()) + 1)]
        added = self.columns.by_column(attributions).tolist()
        return [
            ColumnAttributions(names[target], self.columns.names, row)
            for target, row in zip(targets.tolist(), added, strict=True)
        ]

    def example(self) -> tuple[str, bytes]:
        """A row of common values."""
        return json_text.JSON, json_text.dump({"data": self.columns.example()})

    def instance_schema(self) -> JsonObject:
        """A row: an object, in which any column may be absent, or a list of all values."""
        named = {each.name: {"type": VALUES[each.type]} for each in self.columns.columns}
        size = {"minItems": len(named), "maxItems": len(named)}
        row: JsonObject = {"type": "array", "items": {"type": VALUES["any"]}, **size}
        return {"anyOf": [{**object_schema({}, named), "additionalProperties": False}, row]}

    def describe_input(self) -> dict[str, object]:
        """The columns, in their order."""
        return {
            "row": "an object of columns and values, or a list of all values, in this order",
            "tensors": "one of shape (rows, columns), or one per column; BYTES for text",
            "missing": "null, NaN, an empty string, or an absent column",
            "columns": [asdict(column) for column in self.columns.columns],
        }

    def _found(self, outputs: Tensors) -> torch.Tensor:
        """The model's first output, (N, outputs); a regression's scaled back, float64."""
        first = next(iter(outputs.values()))
        found = first[:, None] if first.ndim == 1 else first
        scales = self.columns.targets if self.config.kind == "regression" else []
        if found.ndim != 2 or (scales and found.shape[1] != len(scales)):
            wanted = f"(N, {len(scales) or 'outputs'})"
            raise ModelError(f"a {self.config.kind} answers {wanted}, not {tuple(first.shape)}")
        if self.config.kind == "classification":
            return found.float()
        if not scales:
            return found.double()
        mean = torch.tensor([each.mean for each in scales], dtype=torch.float64)
        std = torch.tensor([each.std for each in scales], dtype=torch.float64)
        return found * std + mean


def _parsed(text: bytes | str) -> object:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest(
            "a row must be JSON: an object of columns and values, or a list of values"
        ) from None
    return found
