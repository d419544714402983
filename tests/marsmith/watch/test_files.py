"""The table of metrics: what is written from it, and what it says of what is measured."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from handlers import telemetry
from marsmith.serving.front.memory import Memory
from marsmith.serving.front.pace import GAUGES
from marsmith.serving.front.tally import Tally
from marsmith.watch.files import files
from marsmith.watch.table import Table, read
from tests.support.paths import ROOT

NAME = re.compile(r"\b(marsmith_\w+|[A-Z]\w+(?:_sum|_count|_bucket)?)(?=\{|\[|\))")

BY = re.compile(r"\bby \([^)]*\)")


@pytest.fixture(scope="module")
def table() -> Table:
    return read()


def test_the_files_are_in_step_with_the_table(table: Table) -> None:
    for name, text in files(table).items():
        there = (ROOT / "docs" / name).read_text("utf-8")
        assert there == text, "write them anew: python -m marsmith.watch.files docs"


def test_the_table_has_what_is_measured_and_nothing_else(table: Table) -> None:
    registry = CollectorRegistry()
    registry.register(Tally())
    families = [*registry.collect(), *Memory(ROOT).describe()]
    ours = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}
    ours |= {f"marsmith_{name}" for name in GAUGES} | {"marsmith_restarts_total"}
    workers = {*telemetry.STAGES, *telemetry.COUNTS}
    assert {each.name for each in table.metrics} == ours | workers


def expressions(table: Table) -> Iterator[str]:
    yield from (query.expr for panel in table.panels for query in panel.queries)
    yield from (alert.expr for alert in table.alerts)


def test_what_is_asked_is_in_the_table(table: Table) -> None:
    known = {sample for each in table.metrics for sample in each.samples}
    plain = [BY.sub("", each) for each in expressions(table)]
    asked = {name for each in plain for name in NAME.findall(each)}
    assert asked <= known
    assert [each.name for each in table.metrics if not asked & {*each.samples}] == []


@pytest.mark.parametrize("name", sorted({name for name in files(read()) if "grafana" in name}))
def test_no_variable_of_the_table_is_left(name: str) -> None:
    assert "$range" not in files(read())[name]
