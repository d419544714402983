"""What a recipe's `assets` function writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from marsmith.errors import BuildError
from marsmith.pipeline.original import check_assets, with_assets
from marsmith.recipe.sections import Recipe


def weights(module: nn.Module, folder: Path) -> None:
    (folder / "labels.json").write_text("[]")
    (folder / "sum.txt").write_text(
        str(sum(float(each.sum()) for each in module.state_dict().values()))
    )


def nothing(module: nn.Module, folder: Path) -> None:
    pass


@pytest.fixture
def recipe(digits_recipe: Recipe) -> Recipe:
    return digits_recipe.model_copy(update={"assets": f"{__name__}:weights"})


def test_assets_travel_with_the_files(recipe: Recipe, tmp_path: Path) -> None:
    found = with_assets(recipe, nn.Linear(2, 2), tmp_path / "assets")
    assert [file.name for file in found.files] == ["labels.json", "sum.txt"]
    assert found.path == recipe.path


def test_a_function_that_writes_nothing_is_refused(digits_recipe: Recipe, tmp_path: Path) -> None:
    recipe = digits_recipe.model_copy(update={"assets": f"{__name__}:nothing"})
    with pytest.raises(BuildError, match="wrote no file"):
        with_assets(recipe, nn.Linear(2, 2), tmp_path / "assets")


def test_assets_of_weights_that_passes_change_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    with_assets(recipe, module, tmp_path / "assets")
    check_assets(recipe, module, tmp_path)
    (tmp_path / "again").rename(tmp_path / "other")
    nn.init.constant_(module.bias, 9.0)
    with pytest.raises(BuildError, match=r"the passes change what .*:weights writes into sum\.txt"):
        check_assets(recipe, module, tmp_path)
