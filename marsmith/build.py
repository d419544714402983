"""build(recipe) -> archive: the steps, top to bottom, on one page."""

from __future__ import annotations

import dataclasses
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from handlers import runtimes, tasks
from handlers.base import Handler
from handlers.errors import LoadError
from handlers.runtimes import Runtime
from handlers.runtimes.eager import wrap
from handlers.schema import json_schema
from marsmith import converters
from marsmith.converters import Artifact, Job
from marsmith.errors import BuildError
from marsmith.package import dump, inspect, package
from marsmith.recipe import Recipe
from marsmith.verify import Ladder, Rung, gate

CPU = torch.device("cpu")
CACHE = ".cache"
VERSIONS = ("torch", "numpy", "pillow", "torchserve", "torch-model-archiver", "marsmith")

Say = Callable[[str], None]


def build(
    recipe: Recipe, store: Path, say: Say = lambda line: None, *, retrain: bool = False
) -> dict[str, Any]:
    """Make a verified archive of a recipe.

    Args:
        recipe: what to build.
        store: where `NAME.mar` and `NAME.report.json` go; made when it isn't there.
        say: takes one line as each step begins.
        retrain: train anew, whatever was trained before.

    Returns:
        The report, as written.

    Raises:
        BuildError: a step failed; the store is as it was before.
    """
    seconds: dict[str, float] = {}
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=store) as folder, settled():
        work = Path(folder)
        with timed("source", seconds):
            say(f"make the model of {recipe.name}")
            cache = store / CACHE
            if retrain:
                shutil.rmtree(cache, ignore_errors=True)
            module = recipe.source.load(cache, say)
        with timed("original", seconds):
            handler = configured(recipe)
            ladder = Ladder(handler, recipe.evaluation, recipe.serving.batch_size)
            say(f"measure the original on {len(ladder.samples)} samples")
            reference = wrap(module, CPU)
            original, _ = ladder.measure("original", reference, reference)
        with timed("converted", seconds):
            say(f"convert to {recipe.runtime} {recipe.precision}, and compare")
            artifact = convert(recipe, module, ladder, work)
            candidate = load_artifact(recipe.runtime, artifact)
            converted, answers = ladder.measure("converted", candidate, reference)
            gate(converted, original, recipe.accept)
        with timed("package", seconds):
            say("package")
            facts = describe(recipe, handler, [original, converted])
            archive = package(recipe, artifact, facts, work)
        with timed("archived", seconds):
            say("load the archive in a fresh interpreter, and compare again")
            archived = ladder.archived(archive, answers)
            gate(archived, original, recipe.accept)
        report = facts | {
            "archive": {k: v for k, v in inspect(archive).items() if k in ("sha256", "bytes")},
            "ladder": [dataclasses.asdict(rung) for rung in (original, converted, archived)],
            "seconds": seconds,
            "python": platform.python_version(),
        }
        (work / "report.json").write_bytes(dump(report))
        archive.replace(store / f"{recipe.name}.mar")
        (work / "report.json").replace(store / f"{recipe.name}.report.json")
    return report


def configured(recipe: Recipe) -> Handler[Any]:
    """The task's handler as it will be served, but without a model.

    Raises:
        BuildError: the handler's settings or files are wrong.
    """
    handler: Handler[Any] = tasks.find(recipe.task)()
    with tempfile.TemporaryDirectory() as folder:
        for file in recipe.files:
            (Path(folder) / file.name).write_bytes(file.read_bytes())
        try:
            handler.configure(recipe.handler_section, Path(folder))
        except LoadError as error:
            raise BuildError(f"the handler refuses its settings: {error}") from error
    return handler


def load_artifact(runtime: str, artifact: Artifact) -> Runtime:
    """Load what a converter wrote, as a worker will."""
    try:
        return runtimes.load(runtime, artifact.model, CPU, artifact.options)
    except LoadError as error:
        raise BuildError(f"the converted model can't be loaded: {error}") from error


def convert(recipe: Recipe, module: torch.nn.Module, ladder: Ladder, work: Path) -> Artifact:
    """Convert a module for the recipe's runtime."""
    out = work / "artifact"
    out.mkdir()
    batch = ladder.first_batch()
    job = Job(
        module,
        recipe.precision,
        batch,
        varying={},
        outputs=tuple(wrap(module, CPU)(batch)),
        calibration=(),
        source=recipe.source,
        settings=recipe.conversion,
    )
    artifact: Artifact = converters.find(recipe.runtime).convert(job, out)
    return artifact


def describe(recipe: Recipe, handler: Handler[Any], rungs: list[Rung]) -> dict[str, Any]:
    """What travels in the archive: nothing of the moment, and no measured error of this CPU."""
    return {
        "name": recipe.name,
        "version": recipe.version,
        "task": recipe.task,
        "runtime": recipe.runtime,
        "precision": recipe.precision,
        "metric": recipe.evaluation.metric if recipe.evaluation else None,
        "accept": recipe.accept.model_dump(),
        "measured": {rung.name: rung.metric for rung in rungs},
        "input": handler.describe_input(),
        "options": json_schema(handler.Options, handler.config.defaults),
        "output": handler.Answer.schema(),
        "versions": {name: version(name) for name in VERSIONS},
    }


@contextmanager
def settled() -> Iterator[None]:
    """Deterministic algorithms for the block, so that equal inputs train equal weights."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def timed(step: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note how long a step took."""
    began = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - began, 2)
