"""What a worker reports about itself, as the frontend reads it from its standard output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_METRIC = re.compile(
    r"\[METRICS\]\s*(?P<name>[\w\s]+)\.(?P<unit>[\w\s]+):(?P<value>-?\d*\.?\d+(?:e-?\d+)?)"
    r"\|#(?P<dimensions>[^|]*)(?:\|#type:[^|,]+)?\|#hostname:[^,]+,[^,]+(?:,.*)?"
)


@dataclass(frozen=True)
class Metric:
    """One value that a worker reported through its standard output."""

    name: str
    value: float
    unit: str
    dimensions: Mapping[str, str]

    @classmethod
    def parse(cls, line: str) -> Metric | None:
        """The metric in a line of a log, or None where the frontend finds none."""
        if (match := _METRIC.fullmatch(line)) is None:
            return None
        pairs = (pair.split(":") for pair in match["dimensions"].split(","))
        dimensions = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
        return cls(match["name"], float(match["value"]), match["unit"], dimensions)
