"""What the columns of a row have added to a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handlers.task import Answer


@dataclass(frozen=True)
class ColumnAttributions(Answer):
    """What each column has added to a label's logit, or to a number that is predicted.

    Where a model gives one logit for two labels, it is the log-odds of either.

    Compared with a row whose numbers are the means, and whose categories are missing.
    """

    target: str
    columns: list[str]
    attributions: list[float]

    def to_json(self) -> dict[str, Any]:
        """Column to attribution, in the columns' order."""
        added = dict(zip(self.columns, self.attributions, strict=True))
        return {"target": self.target, "attributions": added}

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """The target, and an object of columns and attributions."""
        added = {"type": "object", "additionalProperties": {"type": "number"}}
        properties = {"target": {"type": "string"}, "attributions": added}
        return {"type": "object", "properties": properties, "required": list(properties)}
