"""Make the report of a build from what its steps have found, and write it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

import handlers
from handlers import interface, runtimes
from handlers.cpu import cores
from marsmith.archive import packages
from marsmith.archive.reading import inspect
from marsmith.archive.writing import dump
from marsmith.pipeline import samples
from marsmith.pipeline.choice import shipped
from marsmith.pipeline.original import Prepared
from marsmith.pipeline.trials import Trial, versions
from marsmith.recipe.candidate import Candidate
from marsmith.recipe.sections import Recipe
from marsmith.report.candidates import CandidateResult, Candidates
from marsmith.report.measurements import Rung, Timed, Timing, Workers
from marsmith.report.page import render
from marsmith.report.report import ArchiveFile, Environment, Facts, Report
from marsmith.sources._module import LiveModule
from marsmith.verify.evaluation import strange_labels

VERSIONS = ("torch", "numpy", "pillow", "torchserve", "torch-model-archiver", "marsmith")
COSINE_DIGITS = 3  # more of them differ between CPUs


def facts(prepared: Prepared, trial: Trial) -> Facts:
    """The facts that travel in the archive: nothing about this moment or this machine.

    Largest errors depend on the rounding of this CPU's kernels and stay; cosines travel, to three
    digits.
    """
    recipe, handler = prepared.recipe, prepared.handler
    rungs = [*prepared.rungs, trial.measured]
    return Facts(
        name=recipe.name,
        version=recipe.version,
        task=recipe.task,
        runtime=trial.candidate.runtime,
        precision=trial.candidate.precision,
        metric=recipe.evaluation.metric if recipe.evaluation else None,
        accept=recipe.accept,
        instructions=trial.converted.instructions,
        measured={rung.name: rung.metric for rung in rungs},
        min_cosine={r.name: round(r.difference.min_cosine, COSINE_DIGITS) for r in rungs},
        samples=prepared.original.samples,
        passes=tuple(prepared.passed),
        content_type=handler.example()[0],
        **interface.of(handler, handler.explainer()),
        versions={name: version(name) for name in VERSIONS} | versions(trial.candidate.runtime),
        requirements=recipe.requirements,
        packages=packages.needed(_served(prepared, trial), recipe.requirements),
        provenance=prepared.provenance,
    )


def _served(prepared: Prepared, trial: Trial) -> list[str]:
    """The modules of `handlers` that an archive's own file finds by name."""
    kinds = (kind.__module__ for kind in type(prepared.handler).__mro__)
    ours = [name for name in kinds if name.partition(".")[0] == handlers.__name__]
    return [*ours, f"{runtimes.__name__}.{trial.candidate.runtime}"]


def report(
    prepared: Prepared,
    tried: Sequence[Trial],
    *,
    ladder: Sequence[Rung],
    original: Timing,
    archive: Path,
    seconds: dict[str, float],
    workers: Workers | None,
    timed: Timed,
    before: Path,
) -> Report:
    """The report of a build: the facts, and what belongs to this machine and moment."""
    best, data, largest = shipped(tried), prepared.ladder.data, max(prepared.answers)
    runtimes = sorted({trial.candidate.runtime for trial in tried})
    found = inspect(archive)
    return Report(
        **dict(facts(prepared, best)),
        objective=prepared.recipe.objective,
        archive=ArchiveFile(sha256=found["sha256"], bytes=found["bytes"]),
        ladder=tuple(ladder),
        original=original,
        candidates=Candidates(_result(prepared.recipe, trial) for trial in tried),
        engines={k: v for name in runtimes for k, v in versions(name).items()},
        environment=Environment(
            python=platform.python_version(),
            system=platform.platform(),
            cpu=_cpu(),
            instructions=torch.backends.cpu.get_cpu_capability(),
            cores=cores(),
            threads=original.threads,
        ),
        seconds=seconds,
        workers=workers,
        timed=timed,
        # What passes have trained is no longer as chance made it.
        unscored=prepared.ladder.data.unscored,
        strange_labels=strange_labels(prepared.handler, prepared.ladder.data),
        random=() if prepared.recipe.training else prepared.recipe.source.random(),
        answers=samples.compared(data, prepared.answers[largest], best.answers[largest])
        if prepared.recipe.evaluation
        else None,
        earlier=samples.earlier(before),
    )


def _result(recipe: Recipe, trial: Trial) -> CandidateResult:
    rung = trial.rung
    return CandidateResult(
        candidate=str(trial.candidate),
        runtime=trial.candidate.runtime,
        precision=trial.candidate.precision,
        status=trial.status,
        verdict=trial.verdict,
        hint=trial.error.hint if trial.error else "",
        log=str(trial.log),
        bytes=trial.artifact.size if trial.artifact else None,
        metric=rung.metric if rung else None,
        difference=rung.difference if rung else None,
        timing=trial.timing,
        archived=trial.archived,
        kept=trial.kept,
        command=_command(recipe, trial.candidate),
    )


def _command(recipe: Recipe, candidate: Candidate) -> str:
    """What builds a candidate alone."""
    if recipe.file is None and isinstance(recipe.source, LiveModule):
        form = f"runtime={candidate.runtime!r}, precision={candidate.precision!r}"
        return f"marsmith.build(module, name={recipe.name!r}, task={recipe.task!r}, ..., {form})"
    return f"marsmith build {recipe.path} --candidate {candidate}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((e.partition(":")[2].strip() for e in lines if e.startswith("model name")), "")


def write(made: Report, folder: Path) -> None:
    """Write `report.json` and `report.html` into a folder."""
    (folder / "report.json").write_bytes(dump(made.model_dump()))
    (folder / "report.html").write_text(render(made), "utf-8")
