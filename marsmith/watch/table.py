"""The table of metrics, panels and alerts, as it is read."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

FILE = Path(__file__).with_name("metrics.yaml")


class Row(BaseModel):
    """A row of any of its parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Family(Row):
    """A metric with its labels."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    about: str

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that a scrape has of it."""
        parts = ("_bucket", "_sum", "_count") if self.type == "histogram" else ("",)
        return tuple(self.name + part for part in parts)


class Query(Row):
    """One expression of Prometheus' language; `sparse` where there may be nothing to show."""

    expr: str
    legend: str
    sparse: bool = False


class Panel(Row):
    """One chart; `unit` is Grafana's name of it."""

    title: str
    unit: str
    about: str
    queries: tuple[Query, ...]
    sparse: bool = False


class Alert(Row):
    """One rule of Prometheus'; `lasts` is how long it holds before somebody is called.

    It is `sparse` where a sound server has nothing to compare.
    """

    name: str
    expr: str
    lasts: str = Field(alias="for")
    severity: Literal["critical", "warning"]
    summary: str
    sparse: bool = False


class Table(Row):
    """All of it."""

    metrics: tuple[Family, ...]
    panels: tuple[Panel, ...]
    alerts: tuple[Alert, ...]


@cache
def read() -> Table:
    """Read the table that comes with marsmith."""
    return Table.model_validate(yaml.safe_load(FILE.read_text("utf-8")))
