from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from marsmith.cli import terminal, tune
from marsmith.recipe import reading
from marsmith.serving.host import intake
from marsmith.tune import settings
from marsmith.tune.search import Found, Held, Tried
from marsmith.tune.settings import Way
from marsmith.tune.tune import Tuned
from tests.support.command import marsmith
from tests.support.paths import ROOT
from tests.support.signing_keys import write_keys
from tests.support.summaries import summary


@pytest.fixture
def signed(digits_archive: Path, tmp_path: Path, server_state: Path) -> Iterator[Path]:
    """An archive that is signed by the one key whose archives servers take."""
    private, public = write_keys(tmp_path, "shop")
    archive = Path(shutil.copy(digits_archive, tmp_path))
    marsmith("sign", archive, "--key", private)
    intake.policy().mkdir()
    try:
        shutil.copy(public, intake.policy())
        yield archive
    finally:
        shutil.rmtree(intake.policy())


@pytest.mark.slow
def test_it_serves_chooses_and_writes_where_servers_take_only_what_is_signed(
    signed: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "digits.yaml"
    text = (ROOT / "archiver_configs" / "digits.yaml").read_text()
    # There are only two ways then, so that all workers start soon.
    recipe.write_text(text.replace("batch_size: 16", "batch_size: 1"))
    options = ("--model-store", signed.parent, "--minutes", "0.5", "--json")
    said = marsmith("tune", recipe, *options)
    found = json.loads(said.stdout)
    assert found["best"] in [
        {"batch_size": s["batch_size"], "max_batch_delay_ms": s["delay_ms"],
         "min_workers": s["workers"]}
        for s in found["settings"].values()
    ]  # fmt: skip
    assert settings.of(reading.load(recipe).serving).serving() == found["best"]


def test_a_recipe_that_was_not_built_is_refused(tmp_path: Path) -> None:
    done = marsmith("tune", "archiver_configs/digits.yaml", "--model-store", tmp_path, check=False)
    assert done.returncode == 1
    assert "build it first" in done.stderr


def test_what_there_was_no_time_for_is_shown_without_figures() -> None:
    ways = {each.name: each for each in (Way(1, 8, 1), Way(2, 8, 1))}
    first, second = ways
    tried = {first: Tried((summary(12.0),)), second: Tried(out="there was no time to try it")}
    found = Found(tried, {}, first, sure=False, why="the most answers per second")
    with terminal.out.capture() as printed:
        tune.show(Tuned(ways, found, first, cores=2, busy=0.0, seconds=60.0))
    _, *rows, _ = printed.get().splitlines()
    assert ["12.0" in row for row in rows] == [True, False]
    assert rows[1].rstrip().endswith("there was no time to try it")


def test_in_a_pipe_each_way_has_its_line() -> None:
    way = Way(1, 8, 1)
    held = {way.name: Held(9.0, 40.0)}
    found = Found({way.name: Tried((summary(12.0),))}, held, way.name, sure=True, why="the highest")
    with terminal.out.capture() as printed:
        tune.show(Tuned({way.name: way}, found, way.name, cores=2, busy=0.0, seconds=60.0))
    _, row, _ = printed.get().splitlines()
    assert row.split()[-6:] == ["10.0", "9.0", "best;", "the", "recipe's", "own"]
