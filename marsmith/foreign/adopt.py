"""`marsmith adopt`: a recipe for an archive that somebody else's tools made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from marsmith.errors import ArchiveError, BuildError
from marsmith.foreign import carried, examine, source, vocabulary
from marsmith.foreign.examine import INDEX, Foreign
from marsmith.foreign.plan import Adoption, plan
from marsmith.foreign.vocabulary import Vocabulary

SERVING = {
    "batchSize": "batch_size",
    "maxBatchDelay": "max_batch_delay_ms",
    "minWorkers": "min_workers",
    "maxWorkers": "max_workers",
    "responseTimeout": "response_timeout_s",
    "startupTimeout": "startup_timeout_s",
    "jobQueueSize": "job_queue_size",
}
LABELS, WORDS = "labels.json", "vocabulary.json"
NO_SETTINGS = "batches and workers: TorchServe got them as the archive was registered"


@dataclass(frozen=True)
class Adopted:
    """What was written: the recipe, the other files, and what isn't carried over."""

    recipe: Path
    files: tuple[Path, ...]
    lost: tuple[str, ...]


def adopt(archive: Path, out: Path | None = None, words: Path | None = None) -> Adopted:
    """Write a recipe, and the files that it names, for an archive.

    Nothing in the archive is run; its model's code is copied, and runs as the recipe is built.

    Args:
        archive: a `.mar` of torch-model-archiver's.
        out: an empty folder, or a new one; by default one of the model's name.
        words: of a text_classifier, where its own can't be read; see `vocabulary.SAY_IT`.

    Raises:
        ArchiveError: it is no archive; or it is one of marsmith's.
        BuildError: no recipe can be made of it, or the folder has something in it.
    """
    if archive.is_file() and not examine.is_foreign(archive):
        raise ArchiveError(
            f"{archive} is marsmith's own, or no model archive", "serve it: `marsmith serve FILE`"
        )
    with examine.opened(archive) as (found, folder):
        made = plan(found)
        if made.refused:
            raise BuildError(f"no recipe can be made of {archive.name}: {made.refused}")
        target = out or Path(found.name)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise BuildError(f"{target} exists, and is not an empty folder", "choose another --out")
        origin = _source(found, made, folder)
        known = _words(made, folder, words)
        target.mkdir(parents=True, exist_ok=True)
        files, left = _files(found, folder, target)
        files += _carried(made, target)
        if known:
            known.write(target / WORDS)
            files.append(target / WORDS)
        name, renamed = _name(found.name)
        serving, unsaid = _serving(found)
        labelled = {"labels": LABELS} if target / LABELS in files else {}
        travel = [name for name in (LABELS, WORDS) if target / name in files]
        recipe = target / f"{name}.yaml"
        lost = (*made.lost, *left, *renamed, *unsaid)
        settings: dict[str, object] = {
            "name": name,
            "version": found.version,
            "task": made.task,
            "source": origin,
            "handler": {**made.handler, **labelled},
            "files": travel,
            "serving": serving,
        }
        recipe.write_text("\n".join(_lines(archive.name, settings, lost)) + "\n", "utf-8")
    return Adopted(recipe, tuple(files), lost)


def _source(found: Foreign, made: Adoption, folder: Path) -> dict[str, object]:
    if made.source != "factory":
        if made.factory:
            arguments = {"model": found.model}
            return {"factory": f"adopted_model:{made.factory}", "arguments": arguments}
        return {made.source: found.model}
    file = folder / found.model_file
    classes = source.read(file).classes if file.is_file() else ()
    if len(classes) != 1:
        raise BuildError(
            f"{found.model_file} defines {len(classes)} classes: TorchServe's handlers take the one"
            " class of it",
            "leave the others in a file of their own",
        )
    module = f"{file.stem}:{classes[0]}"
    if made.factory:
        arguments = {"model": module, "weights": found.model}
        return {"factory": f"adopted_model:{made.factory}", "arguments": arguments}
    weights = {"checkpoint": found.model} if found.model else {}
    return {"factory": module, **weights}


def _words(made: Adoption, folder: Path, given: Path | None) -> Vocabulary | None:
    """The vocabulary of a text_classifier."""
    if made.factory != "bag_of_words":
        return None
    if given is not None:
        return vocabulary.read_json(given)
    if not (folder / vocabulary.FILE).is_file():
        raise BuildError(f"there is no {vocabulary.FILE} in it: TorchServe can't load it either")
    return vocabulary.read(folder / vocabulary.FILE)


def _carried(made: Adoption, target: Path) -> list[Path]:
    """Write the code that stands for that of TorchServe's handler."""
    task = made.task.partition(":")[0]
    needed = ["adopted_model"] * bool(made.factory) + [task] * (task != made.task)
    files = [target / f"{name}.py" for name in needed]
    for file in files:
        shutil.copyfile(Path(carried.__file__).with_name(file.name), file)
    return files


def _files(found: Foreign, folder: Path, target: Path) -> tuple[list[Path], list[str]]:
    """Copy the model and its code, and write the labels; what else there is, is told."""
    handler = found.handler.partition(":")[0].removesuffix(".py") + ".py"
    written, left = [], []
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = file.relative_to(folder)
        needed = file.suffix == ".py" and bool(found.model_file)
        if found.model:  # an ONNX file may have its weights in others, named after it
            needed |= name.as_posix().startswith(found.model)
        if name.parts[0] == "MAR-INF" or name.as_posix() in (INDEX, handler, vocabulary.FILE):
            continue
        if needed:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / name)
            written.append(target / name)
        elif file.suffix not in (".yaml", ".yml") and file.name != "requirements.txt":
            left.append(f"the file {name.as_posix()}")
    if (folder / INDEX).is_file():
        names, said = _labels(examine.read_labels(folder / INDEX))
        (target / LABELS).write_text(
            json.dumps(names, indent=0, ensure_ascii=False) + "\n", "utf-8"
        )
        written.append(target / LABELS)
        left += said
    return written, left


def _labels(known: dict[int, str]) -> tuple[list[str], list[str]]:
    """The names in the order of their numbers; each once, as ours must be."""
    names = [known.get(number, str(number)) for number in range(max(known, default=-1) + 1)]
    said = [f"label {n}: {INDEX} has none" for n in range(len(names)) if n not in known]
    for number, name in enumerate(names):
        if name in names[:number]:
            names[number] = f"{name} ({number})"
            said.append(f"label {number} is {names[number]!r}: {name!r} is another's name, too")
    return names, said


def _name(name: str) -> tuple[str, list[str]]:
    plain = name.replace(".", "_")
    plain = f"my_{plain}" if plain.startswith("token") else plain
    return plain, [] if plain == name else [f"the name {name}: it is {plain}"]


def _serving(found: Foreign) -> tuple[dict[str, object], list[str]]:
    """The serving settings, and what is not carried over of the configuration."""
    if not found.config:
        return {}, [NO_SETTINGS]
    serving: dict[str, object] = {}
    for key, value in found.config.items():
        if key in SERVING and type(value) is int and value > 0:
            serving[SERVING[key]] = value
    least, most = serving.get("min_workers", 1), serving.get("max_workers", 4)
    if isinstance(least, int) and isinstance(most, int):
        serving["max_workers"] = max(least, most)
    if found.config.get("deviceType") in ("cpu", "gpu"):
        serving["device"] = found.config["deviceType"]
    carried = {*SERVING, "deviceType"}
    return serving, [f"{key} of the configuration" for key in found.config if key not in carried]


def _lines(archive: str, settings: dict[str, object], lost: tuple[str, ...]) -> Iterator[str]:
    yield f"# What {archive} is, as a recipe; see README."
    if lost:
        yield "# Not carried over:"
        yield from (f"#   {line}" for line in lost)
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield f"{key}:"
            yield from (f"  {_setting(*each)}" for each in value.items())
        elif value not in ({}, []):
            yield _setting(key, value)
    if settings["task"] == "tensors":
        yield "# What the model takes; an ONNX file and a .pt2 say it themselves."
        yield "# handler:"
        yield "#   inputs: {x: {shape: [3, 224, 224], datatype: FP32}}"
    yield "# Data that training never saw, and what the archive must be worth on it; and what the"
    yield "# archive as it was says to the same bodies."
    yield "# evaluation:"
    yield "#   data: my_data:held_out"
    yield "#   metric: accuracy"
    yield "#   expected: my_script:answers"


def _setting(key: str, value: object) -> str:
    text: str = yaml.safe_dump({key: value}, default_flow_style=True, width=10_000)
    return text.strip()[1:-1]
