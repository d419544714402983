"""convert(recipe) -> a folder: the model as another system reads it, compared with PyTorch."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from handlers import runtimes
from marsmith import converters, notebook
from marsmith.archive.writing import dump
from marsmith.converters import Artifact
from marsmith.errors import BuildError, UnsupportedError
from marsmith.pipeline import timing, trials
from marsmith.pipeline.original import Prepared, prepare
from marsmith.recipe.reading import Given, load
from marsmith.report.measurements import Rung
from marsmith.report.report import ConversionReport
from marsmith.verify.ladder import gate


def convert(
    recipe: Given, to: str, out: str | Path, say: notebook.Say | None = None
) -> ConversionReport:
    """Write a recipe's model in one form, without an archive.

    Args:
        recipe: what to convert: a YAML file, the settings of one as a mapping, or a `Recipe`. Its
            passes are applied.
        to: a converter, or "converter:precision"; without a precision, fp32.
        out: an empty folder, or a new one.
        say: takes one line as each step begins; by default a notebook shows a bar.

    Returns:
        What was measured, and the sizes of the files; `conversion.json` has it, too.

    Raises:
        RecipeError: the recipe can't be read, or there is no such converter.
        BuildError: `out` has something in it, or the conversion failed; nothing is left then.
        GateError: the converted model misses a bound of the recipe.
    """
    recipe, out = load(recipe), Path(out)
    name, _, precision = to.partition(":")
    converter = converters.find(name)
    precision = precision or "fp32"
    if precision not in converter.PRECISIONS:
        raise UnsupportedError(
            f"{name} has no precision {precision!r}; it has {', '.join(converter.PRECISIONS)}"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BuildError(f"{out} is not an empty folder", "name a new one, or empty it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".convert-", dir=out.parent) as folder,
        timing.threads(recipe),
        notebook.progress(say) as shown,
    ):
        say, work = shown.say, Path(folder)
        prepared = prepare(recipe, work / "kept", work, say)
        say(f"convert to {name} {precision}")
        made = work / "made"
        made.mkdir()
        with trials.captured(work / "log"):
            artifact = converter.convert(prepared.job, precision, made)
        say("compare with PyTorch")
        rung = _compare(name, artifact, prepared)
        gate(rung, prepared.original, recipe.accept)
        report = _report(name, precision, artifact, rung, made)
        (made / "conversion.json").write_bytes(dump(report.model_dump()))
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
    return report


def _compare(name: str, artifact: Artifact, prepared: Prepared) -> Rung:
    if name in runtimes.known():
        runtime = trials.load(name, artifact, prepared.job)
    else:
        runtime = converters.find(name).load(artifact, prepared.job)
    return prepared.ladder.measure(name, runtime)[0]


def _report(
    name: str, precision: str, artifact: Artifact, rung: Rung, made: Path
) -> ConversionReport:
    files = (artifact.model, *artifact.files)
    return ConversionReport(
        format=name,
        precision=precision,
        files={str(file.relative_to(made)): file.stat().st_size for file in sorted(files)},
        options=artifact.options,
        metric=rung.metric,
        difference=rung.difference,
        outputs=rung.outputs,
        samples=rung.samples,
        versions=trials.versions(name),
    )
