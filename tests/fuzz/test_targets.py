"""Every target on what was once found, its seeds, and some inputs of chance, always the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import engine, targets
from tests.support.paths import ROOT

INPUTS = 150
FAULTY = """
def seeds():
    return [b"1", b"22", b"333"]

def run(data):
    if data == b"22":
        raise KeyError(data)
    if data == b"333":
        bytearray(800 << 20)[::4096] = b"1" * (800 << 8)
    if data == b"4444":
        raise SystemExit

def mutate(data, random_):
    return b"4444"
"""


def fuzz(*arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """In a process of its own: a target sets up a whole worker."""
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def test_nothing_is_found() -> None:
    done = fuzz("--inputs", str(INPUTS))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == engine.known()


def test_what_must_not_happen_is_found_and_kept_and_fuzzing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    monkeypatch.setattr(targets, "__path__", [str(tmp_path)])
    monkeypatch.setattr(engine, "MOST_MEMORY", 400 << 10)
    watched = engine.Watched("faulty", tmp_path / "found")
    for data in engine.inputs("faulty", 5):
        watched.run(data)
    monkeypatch.delitem(sys.modules, f"{targets.__name__}.faulty")
    assert watched.inputs == 8
    kinds = [key.partition(" in ")[0] for key in watched.found]
    assert kinds == ["KeyError", "CostsTooMuchError", "SystemExit"]
    kept = {file.read_bytes() for file in (tmp_path / "found").iterdir() if not file.suffix}
    assert kept == {b"22", b"333", b"4444"}


@pytest.mark.slow
def test_it_is_guided_by_coverage() -> None:
    pytest.importorskip("atheris")
    done = fuzz("--minutes", "0.3", "options")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.startswith("options: ")
