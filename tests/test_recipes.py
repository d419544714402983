"""A recipe of each task, built and served by one TorchServe, asked what it was verified on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers import tasks
from marsmith.pipeline.build import build
from marsmith.pipeline.candidates import only
from marsmith.recipe import reading
from marsmith.recipe.references import resolve
from marsmith.recipe.sections import Recipe
from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.verify import metrics
from tests.support.paths import ROOT

ASKED = 600
SLACK = 0.1  # some of the held-out data have another metric than all of them


def load(name: str) -> Recipe:
    return reading.load(ROOT / "archiver_configs" / f"{name}.yaml")


def first_of_each_task() -> dict[str, str]:
    """A recipe's name by its task: of several, the first in the order of the alphabet."""
    found: dict[str, str] = {}
    for file in sorted((ROOT / "archiver_configs").glob("*.yaml")):
        found.setdefault(load(file.stem).task, file.stem)
    return found


RECIPES = list(first_of_each_task().values())


@pytest.fixture(scope="module")
def together(store: Path, server_state: Path) -> Iterator[ServerInfo]:
    archives = []
    for name in RECIPES:
        recipe = load(name)
        # Of all candidates other tests tell; here one is enough.
        build(only(recipe, ["torchscript"]) if recipe.runtime == "auto" else recipe, store)
        archives.append(store / f"{name}.mar")
    info = server.serve(archives, port=0)
    try:
        yield info
    finally:
        server.stop(info)


def test_every_task_has_a_recipe() -> None:
    without = set(tasks.known()) - set(first_of_each_task())
    assert not without, "a task needs a recipe in archiver_configs/, and an example"


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_each_answers_as_well_as_it_was_verified(together: ServerInfo, name: str) -> None:
    recipe = load(name)
    assert recipe.evaluation
    assert recipe.evaluation.metric
    held_out = list(resolve(str(recipe.evaluation.data))())[:ASKED]
    with server.client(together, timeout_s=60) as client:
        answers = [
            client.predict(name, body, content_type="", accept="application/json")
            for body, _ in held_out
        ]
    measured = metrics.find(recipe.evaluation.metric)(answers, [right for _, right in held_out])
    assert measured >= (recipe.accept.metric_at_least or 0.75) - SLACK
