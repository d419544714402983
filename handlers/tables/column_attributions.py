"""Explanations of a row: what each of its columns added to a prediction."""

from __future__ import annotations

from dataclasses import dataclass

from handlers.schema import JsonObject, object_schema
from handlers.task import Answer


@dataclass(frozen=True)
class ColumnAttributions(Answer):
    """What each column added to a label's logit, or to a predicted number.

    Where a model gives one logit for two labels, it is the log-odds of either.

    The baseline is a row whose numbers are the means, and whose categories are missing.
    """

    target: str
    columns: list[str]
    attributions: list[float]

    def to_json(self) -> JsonObject:
        """Column to attribution, in the columns' order."""
        added = dict(zip(self.columns, self.attributions, strict=True))
        return {"target": self.target, "attributions": added}

    @classmethod
    def schema(cls) -> JsonObject:
        """The target, and an object of columns and attributions."""
        added: JsonObject = {"type": "object", "additionalProperties": {"type": "number"}}
        return object_schema({"target": {"type": "string"}, "attributions": added})
