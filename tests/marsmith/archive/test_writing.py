from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from marsmith.archive.reading import inspect
from marsmith.archive.writing import model_config, package
from marsmith.converters import Artifact
from marsmith.errors import BuildError
from marsmith.recipe.candidate import Candidate
from marsmith.recipe.sections import Recipe

TORCHSCRIPT = Candidate("torchscript", "fp32")


def test_entries_are_canonical(digits_archive: Path) -> None:
    with zipfile.ZipFile(digits_archive) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert {entry.external_attr >> 16 for entry in entries} == {0o644}
    # Java reads local headers one after the other: none may leave its size for later.
    assert {entry.flag_bits & 0x08 for entry in entries} == {0}


def test_every_file_has_its_sum(digits_archive: Path) -> None:
    with zipfile.ZipFile(digits_archive) as archive:
        *lines, own = archive.read("MAR-INF/SHA256SUMS").decode().splitlines()
        assert own == "# " + hashlib.sha256("".join(f"{x}\n" for x in lines).encode()).hexdigest()
        sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
        assert set(sums) == set(archive.namelist()) - {"MAR-INF/SHA256SUMS"}
        for name, digest in sums.items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest


def test_the_sums_are_those_of_sha256sum(digits_archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(digits_archive) as archive:
        archive.extractall(tmp_path)
    command = ["sha256sum", "--check", "--strict", "MAR-INF/SHA256SUMS"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_there_is_no_pickle_and_no_trace_of_this_machine(digits_archive: Path) -> None:
    with zipfile.ZipFile(digits_archive) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".pkl", ".pickle"))]
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert str(Path(__file__).resolve().parents[2]).encode() not in everything
    assert b"createdOn" not in everything


def test_inspect_says_what_is_in_it(digits_archive: Path) -> None:
    found = inspect(digits_archive)
    assert found["manifest"]["model"]["modelName"] == "digits"
    assert found["config"]["handler"]["task"] == "image_classification"
    assert found["facts"]["measured"]["torchscript:fp32"] >= 0.98
    assert found["listed"]
    assert found["facts"]["input"]["tensor"]["shape"] == [1, 8, 8]
    assert found["files"]["model.pt"]["bytes"] > 10_000


def test_two_files_of_one_name_are_refused(digits_recipe: Recipe, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "labels.json").write_text("[]")
    files = (tmp_path / "a" / "labels.json", tmp_path / "b" / "labels.json")
    model = tmp_path / "model.pt"
    model.write_bytes(b"")
    recipe = digits_recipe.model_copy(update={"files": files})
    with pytest.raises(BuildError, match=r"labels\.json"):
        package(recipe, TORCHSCRIPT, Artifact(model), {}, tmp_path / "w")


def test_the_configuration_always_has_timeouts(digits_recipe: Recipe) -> None:
    artifact = Artifact(Path("model.pt"), (), {"a": 1}, ("vnni",))
    config = yaml.safe_load(model_config(digits_recipe, TORCHSCRIPT, artifact))
    assert config["responseTimeout"] == 60
    assert config["startupTimeout"] == 120
    assert config["maxBatchDelay"] == 1
    assert config["handler"]["runtime_options"] == {"a": 1}
    assert config["handler"]["instructions"] == ["vnni"]
