"""The notebooks of docs/notebooks/: that they run, and that what they show is theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import notebooks
from tests.support.paths import ROOT

NOTEBOOKS = sorted(notebooks.FOLDER.glob("*.ipynb"))
MOST_BYTES = 200_000


def test_there_are_some() -> None:
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_it_shows_is_of_its_cells(path: Path) -> None:
    """Where this fails, a cell was edited: `python -m tests.support.notebooks`."""
    found = list(notebooks.stamps(json.loads(path.read_bytes())))
    assert found
    for number, (cell, stamp) in enumerate(found, start=1):
        assert cell["execution_count"] == number
        assert cell["metadata"][notebooks.STAMP] == stamp, cell["source"]
        assert "error" not in [each["output_type"] for each in cell["outputs"]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_small_and_of_no_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.encode()) < MOST_BYTES
    assert [place for place in ("/tmp/", "/home/", "/root/", str(ROOT)) if place in text] == []
    shown = [
        output.get("name")
        for cell in json.loads(text)["cells"]
        for output in cell.get("outputs", [])
    ]
    assert "stderr" not in shown


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_and_shows_what_is_kept(path: Path, tmp_path: Path) -> None:
    saved, fresh = notebooks.read(path), notebooks.run(path, tmp_path)
    for before, now in zip(saved.cells, fresh.cells, strict=True):
        if before.cell_type == "code":
            kinds = [
                [(output.output_type, sorted(output.get("data", {}))) for output in cell.outputs]
                for cell in (before, now)
            ]
            assert kinds[0] == kinds[1], before.source
    assert list((tmp_path / "servers").glob("*/server.json")) == []  # all are stopped
