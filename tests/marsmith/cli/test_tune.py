from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.command import marsmith
from tests.support.paths import ROOT


@pytest.mark.slow
def test_it_serves_chooses_and_writes(
    digits_archive: Path, tmp_path: Path, server_state: Path
) -> None:
    recipe = tmp_path / "digits.yaml"
    shutil.copy(ROOT / "archiver_configs" / "digits.yaml", recipe)
    options = ("--model-store", digits_archive.parent, "--minutes", "0.5", "--json")
    said = marsmith("tune", recipe, *options)
    found = json.loads(said.stdout)
    assert found["best"] in [
        {"batch_size": s["batch_size"], "max_batch_delay_ms": s["delay_ms"],
         "min_workers": s["workers"]}
        for s in found["settings"].values()
    ]  # fmt: skip
    written = yaml.safe_load(recipe.read_text())["serving"]
    assert {name: written[name] for name in found["best"]} == found["best"]


def test_a_recipe_that_was_not_built_is_refused(tmp_path: Path) -> None:
    done = marsmith("tune", "archiver_configs/digits.yaml", "--model-store", tmp_path, check=False)
    assert done.returncode == 1
    assert "build it first" in done.stderr
