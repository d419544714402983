"""What people are shown of a rollout."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from marsmith.cli import terminal
from marsmith.serving.rollout import Step

STEPS = [
    Step(step="tiny 2.0 starts beside 1.0"),
    Step(step="in the shadow", compared=40, disagreement=0.05, old_p99_ms=20.04),
    Step(step="5 % of the requests", share=5, answers=30, p99_ms=21.6, old_p99_ms=20.0),
    Step(step="tiny 2.0 has all requests", share=100),
]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(terminal, "out", Console(file=text, width=100))
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
