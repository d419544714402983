"""The candidates of a build: the fate of each, and all of them as a table."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Literal

from pydantic import GetCoreSchemaHandler

from marsmith.report.frozen import Frozen
from marsmith.report.measurements import Difference, LayerHarm, Rung, Timing
from marsmith.report.words import NOTHING, fixed, told

if TYPE_CHECKING:
    from pydantic_core.core_schema import CoreSchema

Status = Literal["skipped", "failed", "refused", "admissible", "shipped"]
"""The outcome of a candidate: it isn't possible here; its conversion broke; it missed a bound; it
may be shipped; it was shipped."""


class CandidateResult(Frozen):
    """The outcome of a candidate, and all that was measured of it."""

    candidate: str
    """Runtime and precision, such as "onnx:int8"."""
    runtime: str
    precision: str
    status: Status
    verdict: str
    """The reason for the status, in one line."""
    hint: str
    """What to do about it; often empty."""
    log: str
    """The file of what the engine wrote."""
    bytes: int | None
    """The size of the converted model; None where there is none."""
    metric: float | None
    """The recipe's metric; None without one, and if the candidate didn't run."""
    difference: Difference | None
    """The worst of all outputs against the converted module's; None if it didn't run."""
    timing: Timing | None
    """None if the candidate was stopped before it was timed."""
    archived: Rung | None
    """What was measured of its own archive; None if there is none, or if it is shipped."""
    kept: tuple[LayerHarm, ...]
    """The layers that int8 leaves in float32, and the harm that each would do."""
    command: str
    """The command that builds this candidate alone."""

    @property
    def usable(self) -> bool:
        """Whether it keeps the recipe's bounds."""
        return self.status in ("admissible", "shipped")

    def row(self) -> dict[str, object]:
        """What a table says of it: figures as they are, in the units that their names end with."""
        off, timing = self.difference, self.timing
        return {
            "candidate": self.candidate,
            "status": self.status,
            "bytes": self.bytes,
            "metric": self.metric,
            "max_abs_error": off and off.max_abs_error,
            "min_cosine": off and off.min_cosine,
            "p50_ms": timing and timing.p50_ms,
            "samples_per_s": timing and timing.samples_per_s,
            "verdict": self.verdict,
        }


class Candidates(tuple[CandidateResult, ...]):
    """Candidates, as a tuple that shows itself as a table in a notebook and in a terminal."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of a plain tuple, whose value becomes one of these."""
        from pydantic_core import core_schema

        plain = handler(tuple[CandidateResult, ...])
        return core_schema.no_info_after_validator_function(cls, plain)

    def rows(self) -> list[dict[str, object]]:
        """A dictionary for each, with the same keys, as `pandas.DataFrame` takes them."""
        return [each.row() for each in self]

    def _cells(self) -> list[list[str]]:
        """Names, then a line for each candidate; without columns in which nobody has anything."""
        rows = self.rows()
        names = [name for name in (rows or [{}])[0] if any(row[name] is not None for row in rows)]
        return [names, *([_said(name, row[name]) for name in names] for row in rows)]

    def __repr__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
        return "\n".join(lines)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        names, *rows = self._cells()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _said(name: str, value: object) -> str:
    if isinstance(value, float) and name in ("metric", "min_cosine"):
        return fixed(value)
    if isinstance(value, float):
        return NOTHING if value != value else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return told(value)
