from __future__ import annotations

import zipfile
from pathlib import Path

import yaml

from marsmith.recipe.sections import Recipe
from marsmith.tune import settings
from marsmith.tune.variants import CONFIG, variants


def test_ways_that_start_side_by_side_have_the_time_of_all(
    digits_archive: Path, digits_recipe: Recipe, tmp_path: Path
) -> None:
    serving = digits_recipe.serving
    ways = {each.name: each for each in settings.space(serving)}
    made = variants(digits_archive, ways, serving.startup_timeout_s * len(ways), tmp_path)
    assert [path.stem for path in made] == list(ways)
    for path, way in zip(made, ways.values(), strict=True):
        with zipfile.ZipFile(path) as archive:
            config = yaml.safe_load(archive.read(CONFIG))
        assert config["startupTimeout"] == serving.startup_timeout_s * len(ways)
        assert config["minWorkers"] == way.workers
        assert config["handler"]["task"] == digits_recipe.task
