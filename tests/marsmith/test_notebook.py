"""Progress where there is a notebook, and where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import IPython
import pytest
from IPython import display

from marsmith import notebook
from tests.support.paths import ROOT


class Screen:
    """What a notebook shows, each time that it is drawn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn: list[str] = []
        kernel = type("Shell", (), {"kernel": object()})()
        monkeypatch.setattr(IPython, "get_ipython", lambda: kernel)
        monkeypatch.setattr(display, "display", self.show)

    def show(self, bar: Any, *, display_id: bool) -> Screen:
        assert display_id
        self.update(bar)
        return self

    def update(self, bar: Any) -> None:
        self.drawn.append(bar._repr_html_())


def test_a_notebook_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    with notebook.progress(None, 2) as shown:
        shown.say("make <it>")
        shown.done()
    bars = [each for each in screen.drawn if "<progress" in each]
    assert ["value=" in each for each in bars] == [True] * len(bars)
    assert 'value="0" max="2"></progress> <small>make &lt;it&gt;' in bars[1]
    assert 'value="1" max="2"' in bars[2]
    assert "progress" not in screen.drawn[-1]
    assert "done in" in screen.drawn[-1]


def test_it_says_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)

    def stop() -> None:
        with notebook.progress(None) as shown:
            shown.say("convert")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert "value=" not in screen.drawn[0]
    assert "stopped after" in screen.drawn[-1]
    assert "convert" in screen.drawn[-1]


def test_who_takes_lines_gets_lines_and_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    lines: list[str] = []
    with notebook.progress(lines.append, 3) as shown:
        shown.say("a")
        shown.done()
    assert (lines, screen.drawn) == (["a"], [])


def test_elsewhere_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert not notebook.is_here()
    with notebook.progress(None, 3) as shown:
        shown.say("a")
        shown.done()
    assert capsys.readouterr() == ("", "")


def test_a_refusal_is_a_sentence_and_a_hint_without_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "-c", "import marsmith; marsmith.Client.local(1)"],
        env={**os.environ, "IPYTHONDIR": str(tmp_path), "MARSMITH_STATE": str(tmp_path)},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout + done.stderr).splitlines()[-2:] == [
        "ServerError: no server of marsmith runs on port 1",
        "hint: start one with `marsmith serve`",
    ]
    assert "Traceback" not in done.stdout + done.stderr
