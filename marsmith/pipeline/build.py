"""build(recipe) -> archive: the steps, top to bottom, on one page."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from marsmith import notebook
from marsmith.archive import requirements, sbom
from marsmith.archive.contents import travelling
from marsmith.archive.writing import dump, package
from marsmith.errors import MarsmithError
from marsmith.notebook import Say
from marsmith.pipeline import choice, patience, reporting, sensitivity, timing, workers
from marsmith.pipeline.candidates import wanted
from marsmith.pipeline.given import recipe_of
from marsmith.pipeline.original import Prepared, prepare
from marsmith.pipeline.progress import Progress
from marsmith.pipeline.trials import Trial, attempt, foreseen
from marsmith.recipe.reading import Given
from marsmith.recipe.sections import Recipe
from marsmith.report.measurements import Timed, Timing
from marsmith.report.report import Report
from marsmith.training import distributed
from marsmith.verify.ladder import gate

CACHE = ".cache"
TIMED_BATCHES = 4  # of each size, from all over the data


def build(
    recipe: Given | torch.nn.Module,
    store: str | Path = "model_store",
    say: Say | None = None,
    *,
    retrain: bool = False,
    keep_all: bool = False,
    served: bool = False,
    **settings: object,
) -> Report | None:
    """Make a verified archive of a recipe, of the best candidate that may be shipped.

    Args:
        recipe: what to build: a YAML file, the settings of one as a mapping, or a `Recipe`; or an
            `nn.Module` as it is now, wherever its class is defined.
        store: the folder for `NAME.mar`, `NAME.report.json` and `.html`, and `NAME.cdx.json`, its
            bill of materials; made if it isn't there.
        say: takes one line as each step begins; by default a notebook shows a bar.
        retrain: train anew, whatever was trained before.
        keep_all: write a verified archive of every admissible candidate into `NAME.candidates/`.
        served: serve the archive with TorchServe, too, and compare its answers.
        settings: of a module's recipe: `name`, `task`, `data`, and the sections of a YAML by their
            names. Functions and data may be given themselves, instead of their names: `data` is a
            list of (request body, expected answer), a body being what `Client.predict` takes;
            `labels` is a list of the classes' names, in the order of the logits.

    Returns:
        The report, as written; None in all processes but the first: they only help to train.

    Raises:
        RecipeError: it can't be read, or says something that isn't allowed.
        BuildError: a step failed; the store's archives and reports are unchanged.
    """
    recipe, store = recipe_of(recipe, settings), Path(store)
    candidates = wanted(recipe)  # errors come before the long steps
    requirements.check(recipe, travelling(recipe), {each.runtime for each in candidates})
    seconds: dict[str, float] = {}
    if retrain:
        shutil.rmtree(store / CACHE, ignore_errors=True)
    steps = len(candidates) + 3 + keep_all + served
    with notebook.progress(say, steps) as shown, workspace(store) as work, timing.threads(recipe):
        say = shown.say
        with timed("original", seconds), distributed.group():
            prepared = prepare(recipe, store / CACHE, work, say)
            if distributed.rank() > 0:
                say("trained; the first process goes on, and writes the archive")
                prepared.cache.drop_unused()
                return None
            ladder, rungs = prepared.ladder, list(prepared.rungs)
            shown.done()
        with timed("candidates", seconds):
            for reason, names in foreseen(candidates, prepared).items():
                say(f"{', '.join(names)} will be skipped: {reason}")
            tried = []
            with Progress(len(candidates), say) as progress:
                for candidate in candidates:
                    progress.next(f"convert to {candidate}, and compare")
                    tried.append(sensitivity.mended(attempt(candidate, prepared), prepared, say))
                    shown.done()
            choice.expect_some(tried)
        with timed("timing", seconds):
            say("time the original and what may be shipped, side by side")
            tried, original, how = time_all(tried, prepared)
            tried = choice.choose(tried, recipe, original)
            best = choice.shipped(tried)
            shown.done()
        with timed("archived", seconds):
            say(f"package {best.candidate}, load it in a fresh interpreter and compare again")
            archive = package_one(best, prepared, work)
            shared = None
            if len(candidates) > 1 and prepared.job.device.type == "cpu":
                shared = workers.compare(archive, ladder.data, recipe.serving, say)
            if shared and shared.per_core:
                prepared = replace(prepared, recipe=workers.per_core(prepared.recipe))
                shutil.rmtree(archive.parent)
                archive = package_one(best, prepared, work)
            rungs += [best.measured, ladder.archived(archive, best.measured, best.answers)]
            gate(rungs[-1], prepared.original, recipe.accept)
            shown.done()
        if keep_all:
            with timed("all archives", seconds):
                for place, trial in enumerate(tried):
                    if trial.status == "admissible":
                        say(f"package {trial.candidate}, load it and compare again")
                        tried[place] = keep_one(trial, prepared, work)
            shown.done()
        if served:
            with timed("served", seconds):
                say("serve the archive with TorchServe, and compare again")
                rungs.append(ladder.served(archive, best.measured, best.answers))
                gate(rungs[-1], prepared.original, recipe.accept)
            shown.done()
        report = reporting.report(
            prepared, tried, ladder=rungs, original=original, archive=archive, seconds=seconds,
            workers=shared, timed=how, before=store / f"{recipe.name}.report.json",
        )  # fmt: skip
        reporting.write(report, work)
        (work / "cdx.json").write_bytes(dump(sbom.document(archive)))
        publish(recipe, best, tried if keep_all else [], work, store)
        prepared.cache.drop_unused()
    return report


def time_all(tried: Sequence[Trial], prepared: Prepared) -> tuple[list[Trial], Timing, Timed]:
    """Time the admissible trials and the original in turns; all, the original's, and how."""
    recipe = prepared.recipe
    found, how = timing.compare(
        {"original": timing.as_by_default(prepared.reference, prepared.job.device)}
        | {str(t.candidate): t.runtime for t in tried if t.runtime},
        {
            size: prepared.ladder.batches.typical(size, TIMED_BATCHES)
            for size in sorted({1, recipe.serving.batch_size})
        },
        decides=1 if recipe.objective == "latency" else recipe.serving.batch_size,
        original="original",
    )
    timed = [replace(trial, timing=found.get(str(trial.candidate))) for trial in tried]
    return timed, found["original"], how


def package_one(trial: Trial, prepared: Prepared, work: Path) -> Path:
    """Write the archive of one candidate into a folder with its name."""
    facts = reporting.facts(prepared, trial).model_dump()
    folder = work / trial.candidate.file_name
    recipe = patience.with_timeout(prepared.recipe, prepared.handler.config, trial.timing)
    return package(recipe, trial.candidate, trial.converted, facts, folder)


def keep_one(trial: Trial, prepared: Prepared, work: Path) -> Trial:
    """Package and verify a candidate that isn't shipped; an error refuses this candidate alone."""
    try:
        archive = package_one(trial, prepared, work)
        archived = prepared.ladder.archived(archive, trial.measured, trial.answers)
        trial = replace(trial, archived=archived)
        gate(archived, prepared.original, prepared.recipe.accept)
    except MarsmithError as error:
        return replace(trial, status="refused", error=error, verdict=error.message)
    return trial


def publish(recipe: Recipe, best: Trial, kept: Sequence[Trial], work: Path, store: Path) -> None:
    """Move what is finished into place; from here on only the disk can fail."""
    if kept:
        others = store / f"{recipe.name}.candidates"
        shutil.rmtree(others, ignore_errors=True)
        others.mkdir()
        for trial in kept:
            if trial.status in ("admissible", "shipped"):
                name = trial.candidate.file_name
                shutil.copyfile(work / name / f"{recipe.name}.mar", others / f"{name}.mar")
    (work / best.candidate.file_name / f"{recipe.name}.mar").replace(store / f"{recipe.name}.mar")
    for suffix in ("report.json", "report.html", "cdx.json"):
        (work / suffix).replace(store / f"{recipe.name}.{suffix}")


@contextmanager
def workspace(store: Path) -> Iterator[Path]:
    """Make a hidden folder in the store for all that is unfinished."""
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=store) as folder:
        yield Path(folder)


@contextmanager
def timed(step: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note how long a step took."""
    began = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - began, 2)
