from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from marsmith.errors import RecipeError
from marsmith.tune.writing import write
from tests.support.paths import ROOT

VALUES = {"batch_size": 16, "max_batch_delay_ms": 5, "min_workers": 2, "max_workers": 2}


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "archiver_configs").glob("*.yaml")))
def test_all_else_of_a_recipe_stays(tmp_path: Path, name: str) -> None:
    before = (ROOT / "archiver_configs" / name).read_text()
    recipe = tmp_path / name
    recipe.write_text(before)
    write(recipe, VALUES)
    wanted = yaml.safe_load(before)
    wanted["serving"] = {**wanted.get("serving", {}), **VALUES}
    assert yaml.safe_load(recipe.read_text()) == wanted
    comments = [line.partition("#")[2] for line in before.splitlines() if "#" in line]
    after = recipe.read_text().splitlines()
    assert [line.partition("#")[2] for line in after if "#" in line] == comments


@given(st.integers(1, 64), st.booleans())
def test_twice_is_as_once(size: int, ends: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder, "r.yaml")
        recipe.write_text("name: a\nserving:\n  batch_size: 8   # why\n" + "task: b\n" * ends)
        write(recipe, {"batch_size": size})
        once = recipe.read_text()
        write(recipe, {"batch_size": size})
        assert recipe.read_text() == once
        assert f"batch_size: {size}   # why" in once


def test_what_is_written_in_one_line_is_left_alone(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: a\nserving: {batch_size: 8}\n")
    with pytest.raises(RecipeError, match="line by line"):
        write(recipe, VALUES)
    assert recipe.read_text() == "name: a\nserving: {batch_size: 8}\n"
