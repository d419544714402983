from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from marsmith.archive.reading import Named
from marsmith.errors import ArchiveError
from marsmith.harness import unpacking

MODEL = {"modelName": "m", "modelVersion": "1", "handler": "entry.py"}


def manifest(folder: Path, content: object) -> Path:
    (folder / "MAR-INF").mkdir(parents=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "MAR-INF" / "MANIFEST.json").write_text(text)
    return folder


def test_an_archive_and_its_folder_are_laid_out_equally(tmp_path: Path) -> None:
    source = manifest(tmp_path / "in", {"model": MODEL})
    (source / "deep").mkdir()
    (source / "deep" / "file").write_text("x")
    (source / "entry.py").write_text("y")
    with zipfile.ZipFile(tmp_path / "a.mar", "w") as mar:
        for file in source.rglob("*"):
            mar.write(file, file.relative_to(source))
    for number, archive in enumerate((source, tmp_path / "a.mar")):
        unpacking.unpack(Named(archive), tmp_path / f"out{number}")
        assert (tmp_path / f"out{number}" / "deep" / "file").read_text() == "x"


def test_what_is_no_archive_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.mar").write_text("no zip")
    with pytest.raises(ArchiveError, match=r"a\.mar is not a sound model archive"):
        unpacking.unpack(Named(tmp_path / "a.mar"), tmp_path / "out")
    with pytest.raises(ArchiveError, match="can't be copied"):
        unpacking.unpack(Named(tmp_path), tmp_path)


def test_a_manifest_names_its_model(tmp_path: Path) -> None:
    folder = manifest(tmp_path, {"runtime": "python", "model": MODEL})
    assert unpacking.read_manifest(Path("a.mar"), folder) == MODEL


@pytest.mark.parametrize(
    "content",
    ["{", [], {}, {"model": []}, {"model": {**MODEL, "handler": 1}},
     {"runtime": "LSP", "model": MODEL}],
)  # fmt: skip
def test_a_manifest_that_gets_no_worker_is_refused(tmp_path: Path, content: object) -> None:
    folder = manifest(tmp_path, content)
    with pytest.raises(ArchiveError, match=r"no usable MAR-INF/MANIFEST\.json") as told:
        unpacking.read_manifest(Path("a.mar"), folder)
    assert "a modelName" in told.value.hint


@pytest.mark.parametrize(
    ("text", "size"),
    [("batchSize: 8", 8), ("batchSize: 0", 1), ("batchSize: many", 1), ("[1]", 1), ("a: [", 1),
     ("", 1)],
)  # fmt: skip
def test_a_broken_configuration_is_an_empty_one(tmp_path: Path, text: str, size: int) -> None:
    (tmp_path / "model-config.yaml").write_text(text)
    config = unpacking.read_config(tmp_path, {"configFile": "model-config.yaml"})
    assert unpacking.batch_size(config) == size
    assert unpacking.read_config(tmp_path, {}) == {}
