"""Make and measure the model before conversion, which all candidates of a build start from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from handlers import tasks
from handlers.base import Handler
from handlers.device import accelerator, choose
from handlers.errors import LoadError
from handlers.runtimes import Runtime, Tensors, ordered
from handlers.tasks.tensors import NamedTensorsHandler
from marsmith import arguments, extras, imports, passes
from marsmith.archive import contents
from marsmith.cache import Cache, code_of, key_of, module_key
from marsmith.converters import Job
from marsmith.errors import BuildError
from marsmith.harness import wire, worker
from marsmith.pipeline import folding, provenance, tensors
from marsmith.recipe.references import resolve
from marsmith.recipe.sections import Recipe
from marsmith.report.measurements import ORIGINAL, Rung
from marsmith.report.report import Provenance
from marsmith.report.words import counted
from marsmith.serving import server
from marsmith.verify import isolation, metrics, untouched
from marsmith.verify.batches import Batches
from marsmith.verify.evaluation import bodies_of, check_example, decode, items_of
from marsmith.verify.ladder import PASSES, Answers, Ladder, gate

CALIBRATION_BATCH = 8
MADE = "made"


@dataclass(frozen=True)
class Prepared:
    """What all candidates share.

    Attributes:
        recipe: what is built.
        handler: configured as it will be served, without a model.
        ladder: compares with the module that is converted.
        job: what every converter gets.
        reference: the original model, before any passes.
        answers: the original's, by batch size.
        rungs: what was measured of the original, and after the passes if there are any.
        passed: what each pass reports.
        made_from: a key of the module and of all else that a conversion depends on.
        measured_on: a key of the data, the task and its settings.
        cache: trained weights, finished conversions, and what was measured of them.
        logs: a folder for what engines write.
        provenance: where the model comes from.
    """

    recipe: Recipe
    handler: Handler[Any, Any, Any]
    ladder: Ladder
    job: Job
    reference: Runtime
    answers: Answers
    rungs: list[Rung]
    passed: Sequence[Mapping[str, object]]
    made_from: str
    measured_on: str
    cache: Cache
    logs: Path
    provenance: Provenance

    @property
    def original(self) -> Rung:
        """The rung whose metric bounds how far the others may fall."""
        return next(rung for rung in self.rungs if rung.name == ORIGINAL)


def prepare(recipe: Recipe, kept: Path, work: Path, say: Callable[[str], None]) -> Prepared:
    """Make the model, measure it, and change it as the recipe's passes say.

    Args:
        recipe: what is built.
        kept: a folder for what is costly to make.
        work: a folder for what only this build needs.
        say: takes one line as each step begins.

    Raises:
        UnsupportedError: what the task needs isn't installed.
        BuildError: the source, the assets, the data or a pass failed.
        GateError: what the passes made misses a bound.
    """
    extras.need_for(recipe.task)
    device, cache = chosen_device(recipe), Cache(kept / MADE)
    if device.type == "cpu" and accelerator():
        say(
            "there is a GPU, and this is built for the CPU: 'serving: {device: gpu}' is for the GPU"
        )
    say(f"make the model of {recipe.name}")
    with settled():
        module: torch.nn.Module = recipe.source.load(cache, say)
    given = recipe
    recipe = with_assets(with_brought(recipe, module, work / "source"), module, work / "assets")
    recipe = tensors.with_inputs(recipe, module)
    handler = configured(recipe)
    check_example(handler)
    ladder = Ladder(handler, recipe.evaluation, recipe.serving.batch_size, device)
    batches = ladder.batches
    inputs = arguments.order(module, list(batches.one(1)))
    reference = folding.outside(handler, module, device, inputs)
    rows = isolation.rows(ladder, reference)
    if isinstance(handler, NamedTensorsHandler):
        recipe = tensors.with_outputs(recipe, tensors.outputs_of(reference, batches.one(rows)))
        handler = configured(recipe)
        ladder = Ladder(handler, recipe.evaluation, recipe.serving.batch_size, device)
        batches = ladder.batches
    say(f"measure the original on {counted(len(batches.samples), 'sample')}")
    measured, answers = ladder.measure(ORIGINAL, reference, refer=True)
    isolation.check(ladder)
    rungs = verified(with_own(recipe, given.files), ladder, measured, answers, say)
    # Converters begin on the CPU, where the module is.
    batch, ranges = given_to(batches.one(rows), inputs), calibration(recipe, handler, inputs)
    with settled():
        trained_on = ordered(handler.prepared(batch), inputs)
        module, source, passed = passes.apply(recipe, module, trained_on, cache, say)
    if recipe.passes:
        check_assets(recipe, module, work)
        changed = folding.outside(handler, module, device, inputs)
        rungs.append(ladder.measure(PASSES, changed)[0])
        gate(rungs[-1], rungs[-2], recipe.accept)
        ladder.measure(PASSES, changed, refer=True)
    if before := handler.preparation():
        say(f"put the preparation of {', '.join(before)} into the model, and compare")
        module, folded = folding.inside(before, module, device, inputs, ladder)
        rungs.append(folded)
    job = Job(
        module=module, batch=batch, varying=batches.varying(), outputs=tuple(ladder.reference[0]),
        calibration=ranges, source=source, settings=recipe.conversion, device=device,
    )  # fmt: skip
    return Prepared(
        recipe, handler, ladder, job, reference, answers, rungs, passed, made_from(job),
        measured_on(recipe, ladder), cache, kept / "logs" / recipe.name, provenance.of(given),
    )  # fmt: skip


def with_own(recipe: Recipe, files: Sequence[Path]) -> Recipe:
    """The recipe with its own files called so in its settings: a model may bring some of that name.

    Args:
        recipe: with what came with the model.
        files: that it named itself.
    """
    names = {file.name for file in files}
    handler = {
        key: f"the recipe's own {value}" if isinstance(value, str) and value in names else value
        for key, value in recipe.handler.items()
    }
    return recipe.model_copy(update={"handler": handler})


def verified(
    recipe: Recipe, ladder: Ladder, original: Rung, answers: Answers, say: Callable[[str], None]
) -> list[Rung]:
    """Compare the original with what the model says without ours, where anybody knows that.

    Args:
        recipe: with what came with the model, as `with_own` gives it.
        ladder: its handler has the original.
        original: its rung.
        answers: its answers, by batch size.
        say: takes one line about what is being done.

    Returns:
        The original's rung, with its difference, behind the rung that it was compared with.

    Raises:
        GateError: the original says something else.
    """
    evaluation, instances = recipe.evaluation, ladder.instances[: untouched.MOST]
    found = [(recipe.source.untouched(instances, recipe.handler, say), untouched.TOLERANCE)]
    if evaluation:
        found.append((untouched.said(evaluation, ladder.data.bodies), evaluation.tolerance))
    rungs = [original]
    for own, tolerance in found:
        if own is None:
            continue
        say(f"compare the original with {own.by}")
        compared = untouched.verify(ladder, own, tolerance, original, answers[max(answers)])
        if compared is None:
            say(f"NOT compared with {own.by}: nothing is said there to this data")
        else:
            rungs = list(compared)
    return rungs


def with_brought(recipe: Recipe, module: torch.nn.Module, folder: Path) -> Recipe:
    """Return the recipe with the files and settings of its model; the recipe's own win."""
    folder.mkdir()
    settings = recipe.source.bring(module, folder, recipe.handler)
    own = {file.name for file in recipe.files}
    made = tuple(file for file in sorted(folder.iterdir()) if file.name not in own)
    files, section = (*recipe.files, *made), {**settings, **recipe.handler}
    return recipe.model_copy(update={"files": files, "handler": section})


def with_assets(recipe: Recipe, module: torch.nn.Module, folder: Path) -> Recipe:
    """Return the recipe with the files that its `assets` function writes.

    Raises:
        BuildError: it wrote no file.
    """
    if recipe.assets is None:
        return recipe
    made = write_assets(recipe.assets, module, folder)
    return recipe.model_copy(update={"files": (*recipe.files, *made)})


def write_assets(assets: str, module: torch.nn.Module, folder: Path) -> tuple[Path, ...]:
    """Let an `assets` function write its files for a module into a new folder.

    Raises:
        BuildError: it wrote no file.
    """
    folder.mkdir()
    resolve(assets)(module, folder)
    made = tuple(sorted(folder.iterdir()))
    if not made:
        raise BuildError(f"{assets} wrote no file into the folder that it was given")
    return made


def check_assets(recipe: Recipe, changed: torch.nn.Module, work: Path) -> None:
    """Refuse assets that depend on what the passes have changed.

    Raises:
        BuildError: the `assets` function writes other files for the changed module.
    """
    if recipe.assets is None:
        return
    write_assets(recipe.assets, changed, work / "again")
    before, again = (
        {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}
        for root in (work / "assets", work / "again")
    )
    for name in sorted(again.keys() | before.keys()):
        if again.get(name) != before.get(name):
            raise BuildError(
                f"the passes change what {recipe.assets} writes into {name}, and the handler would "
                "have it from the model before them",
                "leave out the passes, or let the model hold what depends on its weights",
            )


@contextmanager
def settled() -> Iterator[None]:
    """Use deterministic algorithms in the block, so that equal inputs train equal weights.

    They are slower: nothing is measured with them. `torch.use_deterministic_algorithms` would
    import torch's compiler first, which takes longer than all else in the build of a small model.
    """
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def chosen_device(recipe: Recipe) -> torch.device:
    """The device to verify and time the model on: a GPU only when the recipe says so.

    Raises:
        BuildError: the recipe says so, and there is no GPU.
    """
    if recipe.serving.device != "gpu":
        return torch.device("cpu")
    if accelerator() is None:
        raise BuildError(
            "the recipe says 'serving.device: gpu', and torch sees no GPU",
            "build where there is a GPU; without the setting, the archive runs on either",
        )
    return choose(0)


def configured(recipe: Recipe) -> Handler[Any, Any, Any]:
    """Make the task's handler as it will be served, without a model.

    Raises:
        BuildError: the handler's settings or files are wrong, or can't travel.
    """
    handler: Handler[Any, Any, Any] = tasks.find(recipe.task)()
    if recipe.serving.continuous_batching and not handler.continuous:
        raise BuildError(f"{recipe.task} can't serve under 'serving.continuous_batching'")
    with tempfile.TemporaryDirectory() as folder:
        contents.copy(contents.travelling(recipe), Path(folder))
        try:
            handler.configure(recipe.handler_section, Path(folder))
        except LoadError as error:
            raise BuildError(f"the handler refuses its settings: {error}") from error
    if handler.stateful and recipe.serving.max_workers > 1:
        raise BuildError(
            "the state of sequences is on the worker that has it, and there may be"
            f" {recipe.serving.max_workers}",
            "set serving: {max_workers: 1}; a bigger batch_size serves more sequences at once",
        )
    return handler


def calibration(
    recipe: Recipe, handler: Handler[Any, Any, Any], inputs: list[str]
) -> list[Tensors]:
    """Make the batches to take ranges of activations from; none if the recipe names no data.

    Args:
        recipe: what is built.
        handler: decodes and collates.
        inputs: the names of the model's inputs, in its order.

    Raises:
        BuildError: the data is wrong, or gives the model other tensors.
    """
    if recipe.calibration is None:
        return []
    named = recipe.calibration.data
    bodies = bodies_of(items_of(named), named)[: recipe.calibration.samples]
    batches = Batches(handler, decode(handler, bodies, "calibration")).all(CALIBRATION_BATCH)
    try:
        return [given_to(batch, inputs) for batch in batches]
    except RuntimeError as error:
        raise BuildError(f"{named}: {error}") from error


def given_to(batch: Tensors, inputs: list[str]) -> Tensors:
    """A batch as a module on the CPU takes it: in the order of its inputs."""
    return {name: tensor.cpu() for name, tensor in ordered(batch, inputs).items()}


def made_from(job: Job) -> str:
    """A key of all that a conversion depends on, except the candidate and its engine."""
    return key_of(
        module_key(job.module), repr(job.source), job.source.files(), job.batch, dict(job.varying),
        job.outputs, list(job.calibration), repr(job.settings), str(job.device),
        torch.backends.cpu.get_cpu_capability(), sorted(job.instructions),
    )  # fmt: skip


def measured_on(recipe: Recipe, ladder: Ladder) -> str:
    """A key of the data, the metric and the task, with its own files and code."""
    metric = recipe.evaluation.metric if recipe.evaluation else None
    named = [kind.__module__ for kind in type(ladder.handler).__mro__]
    if metric:
        own, colon, _ = metric.partition(":")
        named.append(own if colon else f"{metrics.__name__}.{metric}")
    # Without what the ladder's last rungs need: they are measured in every build.
    code = code_of(Ladder.__module__, *named, without=(worker, server, wire))
    return key_of(
        list(ladder.data.bodies), ladder.data.expected, metric, code, recipe.handler_section,
        contents.travelling(recipe), recipe.requirements, ladder.batch_sizes,
        torch.get_num_threads(), imports.unseen(named),
    )  # fmt: skip
