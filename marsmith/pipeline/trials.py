"""Trials: each candidate converted, loaded, and compared with what it was converted from."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import TypeAdapter

from handlers import runtimes
from handlers.errors import LoadError
from handlers.runtimes import Runtime
from marsmith import causes, converters
from marsmith.atomic import replacing
from marsmith.cache import code_of, key_of
from marsmith.converters import Artifact, Job
from marsmith.errors import BuildError, GateError, MarsmithError, UnsupportedError
from marsmith.pipeline.original import Prepared
from marsmith.recipe.candidate import Candidate
from marsmith.report.candidates import Status
from marsmith.report.measurements import LayerHarm, Rung, Timing
from marsmith.verify import ladder
from marsmith.verify.ladder import Answers


@dataclass(frozen=True)
class Trial:
    """The state of a candidate; each step of a build makes a new one.

    Attributes:
        candidate: runtime and precision.
        log: the file of what the engine wrote.
        status: "shipped" once it is chosen.
        verdict: the reason for the status, in one line.
        error: what stopped it; None while it is admissible.
        artifact: the converted model, if there is one.
        rung: what was measured of it, if it ran.
        answers: its answers to the evaluation data.
        runtime: the loaded model, while it is admissible.
        timing: how fast it is, while it is admissible.
        archived: what was measured of its own archive, if one was made to be kept.
        kept: the layers that its int8 leaves in float32.
    """

    candidate: Candidate
    log: Path
    status: Status = "admissible"
    verdict: str = ""
    error: MarsmithError | None = None
    artifact: Artifact | None = None
    rung: Rung | None = None
    answers: Answers = field(default_factory=dict)
    runtime: Runtime | None = None
    timing: Timing | None = None
    archived: Rung | None = None
    kept: tuple[LayerHarm, ...] = ()

    @property
    def measured(self) -> Rung:
        """What was measured of it.

        Raises:
            BuildError: it never ran.
        """
        if self.rung is None:
            raise BuildError(f"{self.candidate} was {self.status}: {self.verdict}")
        return self.rung

    @property
    def converted(self) -> Artifact:
        """The converted model.

        Raises:
            BuildError: there is none.
        """
        if self.artifact is None:
            raise BuildError(f"{self.candidate} was {self.status}: {self.verdict}")
        return self.artifact


def attempt(candidate: Candidate, prepared: Prepared) -> Trial:
    """Convert a candidate, unless that was done before, load it and compare it.

    An error of the candidate is never raised: the trial has it. A full disk is none.
    """
    trial = Trial(candidate, prepared.logs / f"{candidate.file_name}.log")
    try:
        with captured(trial.log):
            try:
                folder = _convert(candidate, prepared)
                trial = replace(trial, artifact=_read(folder))
                runtime = load(candidate.runtime, trial.converted, prepared.job)
                rung, answers = _measured(runtime, candidate, prepared, folder)
                trial = replace(trial, runtime=runtime, rung=rung, answers=answers)
                ladder.gate(rung, prepared.original, prepared.recipe.accept)
            except MarsmithError:
                raise
            except Exception as error:  # an engine may raise anything, and others may do
                if causes.disk_is_full(error):  # for the others, too
                    raise
                traceback.print_exc()
                said = f"{type(error).__name__}: {_one_line(str(error))}"
                raise BuildError(f"{candidate} broke: {said}") from error
    except UnsupportedError as error:
        return _stopped(trial, "skipped", error)
    except GateError as error:
        return _stopped(trial, "refused", error)
    except MarsmithError as error:
        return _stopped(trial, "failed", error)
    return trial


def _stopped(trial: Trial, status: Status, error: MarsmithError) -> Trial:
    said = error.message.removeprefix(f"the {trial.candidate} model was refused: ")
    return replace(trial, status=status, error=error, verdict=_one_line(said), runtime=None)


def _convert(candidate: Candidate, prepared: Prepared) -> Path:
    """Return the cache's folder with the converted model; convert it if there is none."""
    cache = prepared.cache
    converter = converters.find(candidate.runtime)
    key = f"{candidate.file_name}-{converted_by(candidate, prepared)}"
    folder = cache.find(key)
    if folder is None:
        if candidate.precision not in converter.PRECISIONS:
            allowed = ", ".join(converter.PRECISIONS)
            raise UnsupportedError(
                f"{candidate.runtime} has no precision {candidate.precision!r}; it has {allowed}"
            )
        if candidate.precision == "bf16":
            expect_bf16(prepared.job)
        with cache.keep(key) as unfinished:
            out = unfinished / "artifact"
            out.mkdir()
            _write(converter.convert(prepared.job, candidate.precision, out), unfinished)
        folder = cache.folder / key
    return folder


def foreseen(candidates: Sequence[Candidate], prepared: Prepared) -> dict[str, list[str]]:
    """Which candidates will surely be skipped, by why; others may turn out to be impossible."""
    found: dict[str, list[str]] = {}
    for each in candidates:
        if reason := _impossible(each, prepared.job):
            found.setdefault(reason, []).append(str(each))
    return found


def _impossible(candidate: Candidate, job: Job) -> str:
    converter = converters.find(candidate.runtime)
    engines = getattr(converter, "PACKAGES", ())
    if candidate.precision not in converter.PRECISIONS:
        return f"{candidate.runtime} has no {candidate.precision}"
    if candidate.runtime in engines and candidate.runtime not in versions(candidate.runtime):
        return f"{candidate.runtime} is not installed: pip install 'marsmith[{candidate.runtime}]'"
    if candidate.precision == "int8" and not job.calibration:
        return "static int8 needs data under 'calibration:' in the recipe"
    if candidate.precision == "bf16":
        try:
            expect_bf16(job)
        except UnsupportedError as error:
            return f"{error.message}: {error.hint}"
    return ""


def expect_bf16(job: Job) -> None:
    """Check that a model would really run in bf16: emulated, it is many times slower than fp32.

    Raises:
        UnsupportedError: the job's CPU or GPU has no instructions for it.
    """
    if job.device.type == "cuda":
        kind, has = "GPU", torch.cuda.is_bf16_supported(including_emulation=False)
        others = "a GPU since Ampere"
    else:
        kind, has, others = "CPU", "bf16" in job.instructions, "a CPU with AVX512-BF16 or AMX"
    if not has:
        raise UnsupportedError(f"this {kind} has no bf16 instructions", f"build it on {others}")


def load(name: str, artifact: Artifact, job: Job) -> Runtime:
    """Load what a converter wrote, as a worker will.

    Raises:
        BuildError: it can't be loaded; `UnsupportedError` when an engine is missing.
    """
    try:
        return runtimes.load(name, artifact.model, job.device, artifact.options)
    except LoadError as error:
        kind = UnsupportedError if isinstance(error.__cause__, ImportError) else BuildError
        raise kind(f"the converted model can't be loaded: {error}", error.hint) from error


def _measured(
    runtime: Runtime, candidate: Candidate, prepared: Prepared, folder: Path
) -> tuple[Rung, Answers]:
    """Measure this artifact on this data, or return what was measured before."""
    written_by = Path(__file__)
    kept = folder / f"rung-{key_of(prepared.measured_on, written_by)}.json"
    if kept.is_file():
        data = json.loads(kept.read_text("utf-8"))
        answers = {int(size): each for size, each in data["answers"].items()}
        return TypeAdapter(Rung).validate_python(data["rung"]), answers
    rung, answers = prepared.ladder.measure(str(candidate), runtime)
    with replacing(kept) as unfinished:
        unfinished.write_text(json.dumps({"rung": dataclasses.asdict(rung), "answers": answers}))
    return rung, answers


def converted_by(candidate: Candidate, prepared: Prepared) -> str:
    """A key of all that a candidate's conversion depends on."""
    runtime = f"{runtimes.__name__}.{candidate.runtime}"
    code = code_of(converters.find(candidate.runtime), runtime)
    return key_of(prepared.made_from, candidate, versions(candidate.runtime), code)


def versions(runtime: str) -> dict[str, str]:
    """The versions of the installed packages that a runtime's converter names."""
    found = {}
    for name in ("torch", "numpy", *getattr(converters.find(runtime), "PACKAGES", ())):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _write(artifact: Artifact, folder: Path) -> None:
    relative = [str(file.relative_to(folder)) for file in (artifact.model, *artifact.files)]
    data = {"files": relative, "options": artifact.options, "for": artifact.instructions}
    (folder / "artifact.json").write_text(json.dumps(data), "utf-8")


def _read(folder: Path) -> Artifact:
    data = json.loads((folder / "artifact.json").read_text("utf-8"))
    model, *files = (folder / name for name in data["files"])
    return Artifact(model, tuple(files), data["options"], tuple(data["for"]))


@contextlib.contextmanager
def captured(log: Path) -> Iterator[None]:
    """Send what Python and the engines' own code print in the block to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    file = log.open("w", encoding="utf-8", errors="replace")
    try:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield
    finally:
        with contextlib.suppress(OSError):  # on a full disk, what matters is said elsewhere
            file.flush()
        for number, saved in enumerate(kept, start=1):
            os.dup2(saved, number)
            os.close(saved)
        with contextlib.suppress(OSError):
            file.close()


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[0] if lines else "no reason was given"
    return line if len(line) <= 200 else f"{line[:199]}…"
