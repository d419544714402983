"""The report: what was verified and chosen, for programs and for people."""

from __future__ import annotations

import dataclasses
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from handlers import interface
from handlers.device import cores
from marsmith.bench import Bench
from marsmith.package import dump, inspect
from marsmith.recipe import Recipe
from marsmith.report_page import render
from marsmith.timing import Timing
from marsmith.trials import Trial, versions
from marsmith.verify import Rung

VERSIONS = ("torch", "numpy", "pillow", "torchserve", "torch-model-archiver", "marsmith")
COSINE_DIGITS = 3  # more of them differ between CPUs


def facts(bench: Bench, trial: Trial) -> dict[str, Any]:
    """What travels in the archive: nothing of the moment or of this machine.

    Errors are the rounding of this CPU's kernels; of them, cosines travel, to three digits.
    """
    recipe, handler = bench.recipe, bench.handler
    rungs = [*bench.rungs, trial.measured]
    return {
        "name": recipe.name,
        "version": recipe.version,
        "task": recipe.task,
        "runtime": trial.candidate.runtime,
        "precision": trial.candidate.precision,
        "metric": recipe.evaluation.metric if recipe.evaluation else None,
        "accept": recipe.accept.model_dump(),
        "measured": {rung.name: rung.metric for rung in rungs},
        "min_cosine": {r.name: round(r.difference.min_cosine, COSINE_DIGITS) for r in rungs},
        "samples": rungs[0].samples,
        "passes": bench.passed,
        "content_type": handler.example()[0],
        **interface.of(handler, handler.explainer()),
        "versions": {name: version(name) for name in VERSIONS} | versions(trial.candidate.runtime),
    }


def full(
    bench: Bench,
    tried: list[Trial],
    best: Trial,
    rungs: list[Rung],
    original: Timing,
    archive: Path,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """All that is known of a build: the facts, and what is of this machine and moment."""
    runtimes = sorted({trial.candidate.runtime for trial in tried})
    return facts(bench, best) | {
        "objective": bench.recipe.objective,
        "archive": {k: v for k, v in inspect(archive).items() if k in ("sha256", "bytes")},
        "ladder": [dataclasses.asdict(rung) for rung in rungs],
        "original": dataclasses.asdict(original),
        "candidates": [_row(bench.recipe, trial) for trial in tried],
        "engines": {k: v for name in runtimes for k, v in versions(name).items()},
        "environment": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cpu": _cpu(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "cores": cores(),
            "threads": original.threads,
        },
        "seconds": seconds,
    }


def _row(recipe: Recipe, trial: Trial) -> dict[str, Any]:
    rung, timing, archived = trial.rung, trial.timing, trial.archived
    return {
        "candidate": str(trial.candidate),
        "runtime": trial.candidate.runtime,
        "precision": trial.candidate.precision,
        "status": trial.status,
        "verdict": trial.verdict,
        "hint": trial.error.hint if trial.error else "",
        "log": str(trial.log),
        "bytes": trial.artifact.size if trial.artifact else None,
        "metric": rung.metric if rung else None,
        "difference": dataclasses.asdict(rung.difference) if rung else None,
        "timing": dataclasses.asdict(timing) if timing else None,
        "archived": dataclasses.asdict(archived) if archived else None,
        "command": f"marsmith build {recipe.path} --candidate {trial.candidate}",
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((e.partition(":")[2].strip() for e in lines if e.startswith("model name")), "")


def write(report: dict[str, Any], folder: Path) -> None:
    """Write `report.json` and `report.html` into a folder."""
    (folder / "report.json").write_bytes(dump(report))
    (folder / "report.html").write_text(render(report), "utf-8")
