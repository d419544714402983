"""`marsmith keys`, as a user runs it."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from marsmith.serving.front import keys
from tests.support.paths import ROOT

pytestmark = pytest.mark.usefixtures("own_state")
COMMAND = [sys.executable, "-m", "marsmith.cli", "keys"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


def test_a_key_goes_into_a_file_or_onto_a_terminal_and_into_no_pipe(tmp_path: Path) -> None:
    piped = run("add", "one")
    assert piped.returncode == 1
    assert "--out FILE" in piped.stderr
    assert keys.kept() == ()
    file = tmp_path / "one.key"
    assert run("add", "one", "--scope", "metrics", "--rate", 9, "--out", file).returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (kept,) = keys.kept()
    assert (kept.sha256, kept.scopes, kept.rate) == (keys.digest(file.read_text()), ("metrics",), 9)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "wb") as terminal, os.fdopen(ours, "rb", buffering=0) as screen:
        subprocess.run([*COMMAND, "add", "two"], cwd=ROOT, stdout=terminal, check=True, timeout=300)
        shown = screen.read(1000).decode().strip()
    assert keys.kept()[1].sha256 == keys.digest(shown)


def test_what_can_not_be_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / "a.key"
    refused = run("add", "a b", "--out", file)
    assert "can't be named 'a b'" in refused.stderr
    assert not file.exists()
    file.write_text("mine")
    refused = run("add", "a", "--out", file)
    assert (refused.returncode, file.read_text()) == (1, "mine")
    assert keys.kept() == ()


def test_they_are_listed_and_revoked(tmp_path: Path) -> None:
    keys.add("one")
    listed = json.loads(run("list", "--json").stdout)
    assert [(key["name"], key["scopes"]) for key in listed] == [("one", ["predict"])]
    assert keys.kept()[0].sha256 not in run("list").stdout + json.dumps(listed)
    assert json.loads(run("revoke", "one", "--json").stdout) == {"revoked": "one"}
    assert "no key named 'one'" in run("revoke", "one").stderr
    file = tmp_path / "two.key"
    assert json.loads(run("add", "two", "--out", file, "--json").stdout) == {"file": str(file)}


def test_keys_may_lie_where_a_variable_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MARSMITH_KEYS", str(tmp_path / "elsewhere" / "keys.json"))
    keys.add("one")
    assert (tmp_path / "elsewhere" / "keys.json").exists()
    monkeypatch.delenv("MARSMITH_KEYS")
    assert keys.kept() == ()
