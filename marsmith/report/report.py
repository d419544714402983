"""The report of a build or a conversion: frozen data, its JSON, and that JSON's schema.

The schema is `Report.model_json_schema()`. `marsmith.pipeline.reporting` makes a report of a build.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from pydantic import Field, ValidationError, model_validator

from marsmith.errors import MarsmithError
from marsmith.recipe.sections import Accept, Objective
from marsmith.report.candidates import CandidateResult, Candidates, Status
from marsmith.report.comparisons import AnswerComparison, EarlierBuild
from marsmith.report.frozen import Frozen
from marsmith.report.measurements import UNTOUCHED, Difference, Rung, Timed, Timing, Workers
from marsmith.report.page import render
from marsmith.report.words import fixed, metric_name


class Package(Frozen):
    """A Python package that serving needs, as it was installed where the archive was made."""

    version: str
    sha256: str | None
    """Of the lines "HASH  PATH", sorted, that its RECORD has of the files that are the same
    wherever its wheel is installed: not of scripts and .dist-info. None where there are none."""
    licence: str
    """In its own words; empty if it doesn't say."""
    spdx: bool
    """Whether `licence` is an expression of SPDX's."""
    requires: tuple[str, ...]
    """The names of the others that it needs."""
    named_by: tuple[str, ...]
    """What in the archive names it: files that import it, "requirements.txt", or "TorchServe" for
    what every server has. Empty for what only other packages need."""


class Provenance(Frozen):
    """Where a model comes from."""

    recipe: str
    """The SHA-256 of its file; of its settings as JSON, for one without a file."""
    source: Mapping[str, object]
    """What the recipe says of it; a file or a folder by its name and SHA-256."""
    data: Mapping[str, str]
    """What returns the data of `evaluation`, `calibration` and `training`, by these names."""
    datasets: tuple[str, ...]
    """The data that the model's own card says it was trained with."""
    licence: str
    """The model's, by its own card; empty if that isn't known."""
    commit: str | None
    """Of the git checkout that the recipe lies in; None if it lies in none."""
    clean: bool | None
    """Whether the recipe, and all other files that git knows, were as that commit has them."""


class Facts(Frozen):
    """What travels in an archive: nothing about a moment or a machine."""

    name: str
    version: str
    task: str
    runtime: str
    precision: str
    metric: str | None
    """The recipe's; None where outputs alone are compared."""
    accept: Accept
    instructions: tuple[str, ...]
    """Those that a CPU must have to compute as the one that it was measured on: "vnni", "bf16"."""
    measured: Mapping[str, float | None]
    """The metric, by the name of what was measured: "original", "passes", the candidate."""
    min_cosine: Mapping[str, float]
    """The least cosine by the same names, with as many digits as are equal on all machines."""
    samples: int
    """How many held-out samples it was measured on."""
    passes: tuple[Mapping[str, object], ...]
    """What each pass reports."""
    content_type: str
    """The media type of the task's example."""
    protocols: tuple[str, ...]
    max_instances: int
    input: Mapping[str, object]
    """What the task takes, for people."""
    instance: Mapping[str, object]
    """A JSON Schema of an instance in JSON."""
    parts: tuple[str, ...]
    """The names of a form's fields that make up an instance."""
    options: Mapping[str, object]
    """A JSON Schema of a request's options."""
    output: Mapping[str, object]
    """A JSON Schema of an answer."""
    columns: tuple[str, ...]
    """The names of the outputs of an answer in v2."""
    media_types: tuple[str, ...]
    """Of answers."""
    explanations: Mapping[str, object]
    """Options, output, columns and media types of explanations; empty where the task has none."""
    versions: Mapping[str, str]
    """Of the packages that the archive was made with."""
    requirements: tuple[str, ...]
    """The pins that the recipe declares."""
    packages: Mapping[str, Package]
    """What serving may need, by the name as registries compare names."""
    provenance: Provenance


class ArchiveFile(Frozen):
    """The archive that was written."""

    sha256: str
    bytes: int


class Environment(Frozen):
    """The machine that speeds were measured on."""

    python: str
    system: str
    cpu: str
    instructions: str
    """The best vector instructions that torch uses on it."""
    cores: int
    """How many this process may use."""
    threads: int
    """How many each model was measured with."""


class Report(Facts):
    """All that is known of a build: the facts, and what belongs to one machine and moment."""

    objective: Objective
    archive: ArchiveFile
    ladder: tuple[Rung, ...] = Field(min_length=1)
    """The user's own model if it could be asked, the original, the passes if there are any, the
    shipped candidate, its archive, and the served archive if that was asked for."""
    original: Timing
    candidates: Candidates
    """In the order in which they were tried."""
    engines: Mapping[str, str]
    """The versions of the packages behind all candidates."""
    environment: Environment
    seconds: Mapping[str, float]
    """How long each step took."""
    workers: Workers | None = None
    """One worker beside several; None where the recipe, the task or the machine left no choice."""
    timed: Timed | None = None
    """How the candidates were timed; None in reports of versions that didn't say it."""
    unscored: int = 0
    """How many right answers came with the held-out data, where no metric asks for them."""
    strange_labels: tuple[str, ...] = ()
    """The right answers of the data that are called as none of the model's labels is."""
    random: tuple[str, ...] = ()
    """The names of the weights that nothing but chance has set."""
    answers: AnswerComparison | None = None
    """The shipped model's answers to held-out data beside the original's; None without data."""
    earlier: EarlierBuild | None = None
    """What the report says that this one replaced."""

    @model_validator(mode="after")
    def _one_is_shipped(self) -> Report:
        if [each.status for each in self.candidates].count("shipped") != 1:
            raise ValueError("one of the candidates must be 'shipped', and no other")
        return self

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read a `NAME.report.json`.

        Raises:
            MarsmithError: there is no such file, or it is not a report.
        """
        try:
            return cls.model_validate(json.loads(path.read_text("utf-8")))
        except OSError as error:
            raise MarsmithError(f"the report {path} can't be read: {error.strerror}") from error
        except ValidationError as error:
            wrong, hint = error.errors()[0], "build it again with this version of marsmith"
            where = ".".join(map(str, wrong["loc"]))
            raise MarsmithError(f"{path} is not a report: {where}: {wrong['msg']}", hint) from error
        except ValueError as error:
            raise MarsmithError(f"{path} is not a report: {error}") from error

    @property
    def first(self) -> Rung:
        """The original, which all forms after it are held against."""
        return next(rung for rung in self.ladder if rung.name != UNTOUCHED)

    @property
    def shipped(self) -> CandidateResult:
        """The candidate in the archive."""
        return next(each for each in self.candidates if each.status == "shipped")

    def ranked(self) -> list[CandidateResult]:
        """Sort the candidates: shipped, admissible from the best on, refused, failed, skipped."""
        statuses: tuple[Status, ...] = get_args(Status)

        def place(each: CandidateResult) -> tuple[int, float]:
            figures: dict[Objective, float | None] = {
                "latency": each.timing.p50_ms if each.timing else None,
                "throughput": -each.timing.samples_per_s if each.timing else None,
                "size": each.bytes,
            }
            figure = figures[self.objective]
            return -statuses.index(each.status), math.inf if figure is None else figure

        return sorted(self.candidates, key=place)

    def __str__(self) -> str:
        """The archive's size and metric, then a line for each candidate."""
        before, after = self.first.metric, self.ladder[-1].metric
        metric = f", {metric_name(self.metric)} {fixed(before)} → {fixed(after)}"
        lines = [f"  {each.candidate} {each.status}: {each.verdict}" for each in self.ranked()]
        first = f"{self.name} {self.version}, {self.task}: {self.archive.bytes:,} bytes"
        return "\n".join([first + (metric if before is not None else ""), *lines])

    def _repr_html_(self) -> str:
        """The page in a frame, so that its styles and a notebook's don't mix."""
        page = html.escape(render(self))
        return f'<iframe srcdoc="{page}" width="100%" height="800" style="border: 0"></iframe>'


class ConversionReport(Frozen):
    """What `marsmith convert` wrote, and how it compares with PyTorch."""

    format: str
    precision: str
    files: Mapping[str, int]
    """The sizes in bytes, by path within the folder."""
    options: Mapping[str, object]
    """What the format's runtime is loaded with."""
    metric: float | None
    difference: Difference
    outputs: Mapping[str, Difference]
    samples: int
    versions: Mapping[str, str]
