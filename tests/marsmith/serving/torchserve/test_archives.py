"""Which archives are served, and which files are none."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from marsmith.archive.reading import Named
from marsmith.errors import ArchiveError
from marsmith.serving.torchserve.archives import find_archives, read_model_name


def write_archive(path: Path, manifest: str | None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        if manifest is None:
            archive.writestr("weights.bin", b"")
        else:
            archive.writestr("MAR-INF/MANIFEST.json", manifest)
    return path


def manifest_of(name: str) -> str:
    return json.dumps({"model": {"modelName": name, "handler": "image_classifier"}})


@pytest.mark.parametrize(
    "manifest", [None, "{", "[]", "{}", '{"model": {"modelName": 3}}', manifest_of("a,b")]
)
def test_an_archive_that_is_none_is_an_error(tmp_path: Path, manifest: str | None) -> None:
    archive = write_archive(tmp_path / "odd.mar", manifest)
    with pytest.raises(ArchiveError, match=r"odd\.mar"):
        read_model_name(archive)


def test_a_file_that_is_no_zip_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.mar").write_text("not a zip")
    with pytest.raises(ArchiveError, match="not a sound model archive"):
        find_archives([tmp_path / "text.mar"], tmp_path)


def test_a_name_that_torchserve_can_not_manage_is_an_error(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "t.mar", manifest_of("tokenizer"))
    with pytest.raises(ArchiveError, match="token API"):
        read_model_name(archive)


def test_archives_are_found_by_path_or_by_name(tmp_path: Path) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    store.mkdir()
    other.mkdir()
    a = write_archive(store / "a.v2.mar", manifest_of("model_a"))
    b = write_archive(other / "b.mar", manifest_of("model_b"))
    assert find_archives([], store) == {"model_a": Named(a)}
    assert find_archives(["a.v2", b], store) == {"model_a": Named(a), "model_b": Named(b)}
    assert find_archives(["a.v2.mar"], store) == {"model_a": Named(a)}
    pin = "@sha256:" + "0" * 64
    assert find_archives([f"a.v2{pin}"], store) == {"model_a": Named(a, "0" * 64)}
    with pytest.raises(ArchiveError, match=r"no archive 'b' in .*; there are: a\.v2$"):
        find_archives(["b"], store)
    with pytest.raises(ArchiveError, match="no archive"):
        find_archives([], tmp_path)
    twin = write_archive(other / "twin.mar", manifest_of("model_a"))
    with pytest.raises(ArchiveError, match=r"both hold a model named 'model_a'"):
        find_archives(["a.v2", twin], store)
