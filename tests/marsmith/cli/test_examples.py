from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from marsmith.cli.examples import copy
from marsmith.errors import MarsmithError
from marsmith.imports import imported_by
from tests.support.command import marsmith
from tests.support.paths import ROOT

NAMES = sorted(path.stem for path in (ROOT / "archiver_configs").glob("*.yaml"))
READ = """
import sys
from marsmith.recipe.reading import load
from marsmith.recipe.references import resolve
recipe = load(sys.argv[1])
for each in (recipe.source, recipe.evaluation, recipe.calibration, recipe.training):
    for value in dict(each or ()).values():
        if isinstance(value, str) and value.startswith("examples."):
            resolve(value)
import examples
assert examples.__file__.startswith(sys.argv[2]), examples.__file__
"""


def test_all_are_listed_with_their_tasks() -> None:
    printed = json.loads(marsmith("examples", "--json").stdout)
    assert list(printed) == NAMES
    assert printed["digits"] == {"task": "image_classification", "about": "Handwritten digits"}
    assert all(each["task"] for each in printed.values())
    assert "digits_pruned" in marsmith("examples").stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_has_all_of_the_code_that_it_imports(name: str, tmp_path: Path) -> None:
    recipe, *files = copy(name, tmp_path / "copy")
    assert recipe.read_bytes() == (ROOT / "archiver_configs" / recipe.name).read_bytes()
    there = {f"examples.{file.stem}" for file in files}
    for file in files:
        text = file.read_text("utf-8")
        assert text == (ROOT / "examples" / file.name).read_text("utf-8")
    for each in sorted(there - {"examples.__init__"}):
        ours = {
            ".".join(imported.split(".")[:2])
            for imported in imported_by(each)
            if imported.startswith("examples.")
        }
        assert ours <= there


def test_a_copy_is_read_from_its_own_folder(tmp_path: Path) -> None:
    recipe, *_ = copy("scenes_detection", tmp_path / "copy")
    folder = recipe.parent
    packages = tmp_path / "packages"  # without the checkout's own examples
    packages.mkdir()
    for name in ("handlers", "marsmith"):
        (packages / name).symlink_to(ROOT / name)
    subprocess.run(
        [sys.executable, "-c", READ, recipe.name, str(folder)], cwd=folder, check=True,
        env={**os.environ, "PYTHONPATH": str(packages)},
    )  # fmt: skip


@pytest.mark.slow
def test_a_copy_builds_where_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "marsmith.cli"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [*command, "examples", "digits", "--out", "mine"], cwd=tmp_path, env=environment, check=True
    )
    done = subprocess.run(
        [*command, "build", "digits.yaml", "--json"], cwd=tmp_path / "mine", env=environment,
        check=True, capture_output=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["metric"] == "accuracy"
    assert (tmp_path / "mine" / "model_store" / "digits.mar").is_file()


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "own.txt").touch()
    with pytest.raises(MarsmithError, match="is not empty"):
        copy("digits", tmp_path)
    with pytest.raises(MarsmithError, match="no example 'digts'; did you mean 'digits'"):
        copy("digts", tmp_path / "new")
    assert [file.name for file in tmp_path.iterdir()] == ["own.txt"]
