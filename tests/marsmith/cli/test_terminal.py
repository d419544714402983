"""What people are shown."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from marsmith.cli import terminal
from marsmith.serving.rollout import Step
from tests.support.sample_reports import alone, data, make

STEPS = [
    Step(step="tiny 2.0 starts beside 1.0"),
    Step(step="in the shadow", compared=40, disagreement=0.05, old_p99_ms=20.04),
    Step(step="5 % of the requests", share=5, answers=30, p99_ms=21.6, old_p99_ms=20.0),
    Step(step="tiny 2.0 has all requests", share=100),
]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(terminal, "out", Console(file=text, width=100, soft_wrap=True))
    return text


def test_a_rollout_is_shown_by_what_was_measured(shown: io.StringIO) -> None:
    terminal.show_rollout(STEPS)
    rows = [line.split() for line in shown.getvalue().splitlines() if "%" in line]
    assert rows == [
        ["in", "the", "shadow", "0", "0.0%", "-", "20.0", "40", "5.0%"],
        ["5", "%", "of", "the", "requests", "30", "0.0%", "21.6", "20.0", "0", "0.0%"],
    ]


def test_of_nothing_measured_nothing_is_shown(shown: io.StringIO) -> None:
    terminal.show_rollout(STEPS[:1])
    assert shown.getvalue() == ""


@pytest.mark.parametrize(
    "said", [{}, {"measured": 3, "metric": []}, {"measured": {"[/x]\x1b[2J": "[bold]"}}]
)
def test_an_archive_is_shown_whatever_it_says_of_itself(
    said: dict[str, object], shown: io.StringIO
) -> None:
    found = {
        "archive": "\u202ea.mar", "bytes": 3, "sha256": "0" * 64, "facts": said,
        "config": {"handler": {"task": "[/]\x1b[2J"}}, "listed": False,
        "files": {"model.pt": {"bytes": 3, "sha256": "1" * 64}},
    }  # fmt: skip
    for each in (found, {**found, "config": {"handler": 3}, "facts": None}):
        terminal.show_archive(each)
    text = shown.getvalue()
    assert text.replace("\n", "").isprintable()
    assert "[/]" in text
    assert "packed by hand" in text


def test_no_cosine_of_an_example_is_printed_without_saying_so(
    shown: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_report(make(**alone()), Path("store"))
    lines = [line for line in shown.getvalue().splitlines() if re.search(r" [01]\.\d{4,6} ", line)]
    lines = [line for line in lines if "refused:" not in line]
    assert len(lines) > len(make().candidates) // 2
    assert all("1 example" in line for line in lines)
    assert "warning: no held-out data:" in capsys.readouterr().err


def test_on_held_out_data_a_cosine_stands_alone(
    shown: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_report(make(), Path("store"))
    assert "example" not in shown.getvalue()
    assert "warning" not in capsys.readouterr().err


def test_a_reason_that_many_share_is_printed_once_with_their_count() -> None:
    row = {**data()["candidates"][6], "verdict": "there is no compiler"}
    many = [{**row, "candidate": f"pt2:{n}", "log": f"{n}.log"} for n in range(24)]
    lines = list(terminal.verdicts(make(candidates=[*data()["candidates"], *many])))
    told = [line for line in lines if "there is no compiler" in line]
    assert len(told) == 1
    assert told[0].startswith("24 candidates failed: there is no compiler: pt2:0, pt2:1, ")
    logs = lines[lines.index(told[0]) + 1]
    assert all(f"{n}.log" in logs for n in range(24))
