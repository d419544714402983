"""The candidates as a table, wherever it is looked at."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser

from marsmith.report.candidates import Candidates
from marsmith.report.report import Report
from tests.support.sample_reports import make


class Table(HTMLParser):
    """The cells of a table, row by row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.rows[-1][-1] += data


def test_it_is_the_tuple_that_it_was() -> None:
    report = make()
    assert isinstance(report.candidates, Candidates)
    assert report.candidates == tuple(report.candidates)
    again = Report.model_validate(json.loads(report.model_dump_json()))
    assert isinstance(again.candidates, Candidates)
    assert again.candidates == report.candidates


def test_a_notebook_shows_a_table_with_nothing_but_text_in_it() -> None:
    candidates = make().candidates
    table = Table(candidates._repr_html_())
    names, *rows = table.rows
    assert table.tags == {"table", "thead", "tbody", "tr", "th", "td"}  # and no script of a verdict
    assert names == list(candidates.rows()[0])
    assert [row[0] for row in rows] == [each.candidate for each in candidates]
    assert [row[-1] for row in rows] == [each.verdict for each in candidates]
    assert {len(row) for row in rows} == {len(names)}
    shipped = rows[[row[1] for row in rows].index("shipped")]
    assert shipped[names.index("metric")] == "0.7586"
    assert shipped[names.index("p50_ms")] == "11.9"
    skipped = rows[[row[1] for row in rows].index("skipped")]
    assert skipped[names.index("p50_ms")] == "–"


def test_a_terminal_shows_a_line_for_each() -> None:
    candidates = make().candidates
    head, *lines = str(candidates).splitlines()
    assert re.split(" {2,}", head)[:3] == ["candidate", "status", "bytes"]
    for each, line in zip(candidates, lines, strict=True):
        assert line.startswith(each.candidate)
        assert f" {each.status} " in line


def test_rows_are_flat_and_alike() -> None:
    rows = make().candidates.rows()
    assert len({tuple(row) for row in rows}) == 1
    plain = (str, int, float, type(None))
    assert all(isinstance(value, plain) for row in rows for value in row.values())
    fastest = max(rows, key=lambda row: row["samples_per_s"] or 0)  # type: ignore[arg-type, return-value]
    assert (fastest["candidate"], fastest["samples_per_s"]) == ("onnx:int8", 90.6)


def test_what_nobody_has_is_no_column_and_no_number_is_said() -> None:
    first = make().candidates[0]
    alone = Candidates([first.model_copy(update={"metric": None, "timing": None})])
    assert "metric" not in str(alone)
    assert "p50_ms" not in alone._repr_html_()
    assert first.difference is not None
    timing = first.timing
    assert timing is not None
    broken = first.model_copy(update={"metric": math.nan})
    assert "not a number" in str(Candidates([broken]))
    assert str(Candidates()) == ""
