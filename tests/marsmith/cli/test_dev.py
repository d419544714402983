"""What is written is served as it was saved."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from marsmith.cli.dev import _files
from marsmith.cli.new import write

WAIT_S = 300
ROW = '{"age": 31, "income": 2800, "town": "Oslo"}'
T = TypeVar("T")


def test_what_a_model_is_made_of_is_watched(tmp_path: Path) -> None:
    recipe, module, *_ = write("made_of", "tabular", tmp_path)
    (module.parent / "layers.py").touch()
    module.write_text(module.read_text() + "\nimport layers\n")
    assert _files(recipe) >= {recipe, module, module.parent / "layers.py"}
    recipe.write_text("name: [")
    assert _files(recipe) == {recipe}


@pytest.mark.slow
def test_a_saved_file_is_what_is_asked_where_servers_take_only_what_is_signed(
    tmp_path: Path,
) -> None:
    recipe, module, *_ = write("drafted", "tabular", tmp_path)
    state = tmp_path / "state"
    (state / "trust").mkdir(parents=True)  # empty: it trusts nobody
    environment = {**os.environ, "MARSMITH_STATE": str(state), "COLUMNS": "200"}
    log = tmp_path / "log"
    with log.open("w") as written:
        running = subprocess.Popen(
            [sys.executable, "-m", "marsmith.cli", "dev", recipe.name, "--no-browser"],
            cwd=recipe.parent,
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
        )

    def said(pattern: str) -> re.Match[str]:
        return until(lambda: re.search(pattern, log.read_text()), running)

    try:
        port = int(said(r"is on http://\S+; its server's port is (\d+)")[1])
        ask = [sys.executable, "-m", "marsmith.cli", "predict", "drafted", "-", "--port", str(port)]

        def answer() -> str:
            done = subprocess.run(
                ask, input=ROW, env=environment, capture_output=True, text=True, timeout=WAIT_S
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert "stays" in answer()
        text = module.read_text()
        module.write_text(text + "\ndef broken(:\n")
        said("is served as it was")
        assert "stays" in answer()
        module.write_text(text.replace('"stays"', '"remains"'))
        said("is served as it is now")
        assert "remains" in answer()
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait(WAIT_S) == 0, log.read_text()
    assert not [each for each in psutil.process_iter() if str(state) in " ".join(line_of(each))]


def line_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def until(found: Callable[[], T | None], running: subprocess.Popen[bytes]) -> T:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if (made := found()) is not None:
            return made
        assert running.poll() is None
        time.sleep(0.2)
    raise AssertionError("it took too long")
