"""`marsmith build FILE --task TASK`: what a file is, and a recipe that builds it."""

from __future__ import annotations

import dataclasses
import os
import re
import textwrap
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from handlers import labels as label_files
from handlers import tasks
from handlers.errors import LoadError
from handlers.schema import json_schema
from handlers.task import Config
from marsmith.cli import new
from marsmith.cli.listing import type_of
from marsmith.errors import MarsmithError
from marsmith.recipe.sections import Recipe
from marsmith.sources import timm
from marsmith.sources.huggingface import HuggingFace

RECIPES = (".yaml", ".yml")
WEIGHTS = (".safetensors", ".ckpt", ".pth", ".bin", ".pt")
KINDS = (
    "a folder with config.json (Hugging Face, timm), .onnx, .pt2 (torch.export), TorchScript, or"
    " weights (.safetensors, .pt, .pth, .ckpt) with --factory"
)
UNKNOWN = {
    "labels": "classes are numbers",
    "resize": "pictures go in as large as they are",
}
WIDTH, ABOUT = 100, "#   # "
ONNX = "export the model to ONNX, and name that file"
OTHERS = {
    ".h5": ("Keras weights or a model of TensorFlow's", f"{ONNX}: tf2onnx"),
    ".keras": ("a model of Keras", f"{ONNX}: model.export(..., format='onnx')"),
    ".pb": ("a graph of TensorFlow's", f"{ONNX}: tf2onnx"),
    ".tflite": ("a finished TFLite model", "name what it was converted from"),
    ".mar": (
        "an archive already",
        "serve it: `marsmith serve FILE`; or `marsmith adopt FILE`",
    ),
    ".gguf": ("a quantised model of llama.cpp's", "name the Hugging Face folder it was made from"),
    ".pkl": ("a pickle", "save the module's state_dict with torch.save, and name that file"),
    ".joblib": ("a pickle of joblib's", f"{ONNX}: skl2onnx, for scikit-learn"),
    ".zip": ("a zip", "unpack it, and name the model's file or folder in it"),
}
"""What people have that can't be built: by its ending, what it is and what to do."""


def write(
    model: Path,
    task: str,
    factory: str | None = None,
    out: Path | None = None,
    *,
    name: str | None = None,
    labels: Path | None = None,
) -> Path:
    """Write a recipe for a model's file or folder.

    Args:
        model: the file, or the folder.
        task: a module of `handlers.tasks`.
        factory: a "module:function" that makes the module, if the file holds weights alone.
        out: the recipe; by default named as the model, in the current folder.
        name: the model's; by default as its file's.
        labels: a JSON file, the list of the names of the model's classes.

    Returns:
        The recipe.

    Raises:
        MarsmithError: the file is of no kind that can be built, there is no such task, no model
            may have that name, the labels can't be read, or the recipe is there already.
    """
    try:
        handler: Any = tasks.find(task)
    except LoadError as error:
        raise MarsmithError(f"--task: {error}") from None
    if name is not None:
        new.refuse_unservable(name)
    name = name or _of_the_file(model)
    out = out or Path(f"{name}.yaml")
    if out.exists():
        raise MarsmithError(
            f"{out} is there already", f"build it: `marsmith build {out}`; or choose another --out"
        )
    key = kind(model, factory)
    where = os.path.relpath(str(model), str(out.parent))
    source: dict[str, str] = {key: where}
    if key == "factory":
        source = {"factory": str(factory), "checkpoint": where}
    said, files = _from_the_model(model, key, handler.Config), list[str]()
    if labels is not None:
        said["labels"] = _labels(labels, task, handler.Config)
        files = _block({"files": [os.path.relpath(str(labels), str(out.parent))]})
    text = new.render(
        "draft.yaml.j2", parent=f"{task if task in new.tasks() else 'recipe'}.yaml.j2",
        file=model.name, recipe=out.name, name=_block(name)[0], task=task, handler=None,
        code="my_data", source=_block(source), files=files,
        said=[*_indented(said)] if said else [], unsaid=[*_unsaid(handler.Config, said)],
        one_at_a_time=key == "onnx" and _one_at_a_time(model),
    )  # fmt: skip
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, "utf-8")
    except OSError as error:
        raise MarsmithError(f"{out} can't be written: {error.strerror}") from error
    return out


def _of_the_file(model: Path) -> str:
    """A name that a model may have, as near to its file's as that can be."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", model.stem).strip("_-") or "model"
    return f"my_{name}" if name.startswith("token") else name


def _labels(file: Path, task: str, config: type[Config]) -> str:
    """What the handler calls a file of labels, if it reads one."""
    if "labels" not in {field.name for field in dataclasses.fields(config)}:
        raise MarsmithError(f"--labels: {task} has no classes that a file may name", "leave it out")
    try:
        label_files.read(file)
    except LoadError as error:
        raise MarsmithError(
            f"--labels: {error}", 'write them as JSON: ["cat", "dog"], in the order of the logits'
        ) from None
    return file.name


def unknown(recipe: Recipe) -> str:
    """What a recipe leaves open that no file tells and all answers depend on, for people."""
    if isinstance(recipe.source, (HuggingFace, timm.Timm)):  # the folder tells
        return ""
    fields = {field.name for field in dataclasses.fields(tasks.find(recipe.task).Config)}
    left = [f"without `{name}` in it, {what}" for name, what in UNKNOWN.items()
            if name in fields and name not in recipe.handler]  # fmt: skip
    return "".join(f"; {each}" for each in left)


def kind(model: Path, factory: str | None) -> str:
    """The key of the source that reads a file or a folder.

    Raises:
        MarsmithError: there is none.
    """
    if not model.exists():
        raise MarsmithError(f"there is no {model}", f"it may be a recipe (.yaml), or {KINDS}")
    if model.is_dir():
        if (model / "config.json").is_file():
            return "timm" if timm.is_one(model) else "huggingface"
        if (model / "saved_model.pb").is_file():
            raise MarsmithError(f"{model} is a SavedModel of TensorFlow's", f"{ONNX}: tf2onnx")
        raise MarsmithError(f"{model} has no config.json: it is not a Hugging Face model", KINDS)
    if model.suffix == ".onnx":
        return "onnx"
    names = _names(model)
    if any(name.endswith("/constants.pkl") for name in names):
        return "torchscript"
    if model.suffix == ".pt2" or any("serialized_exported_program" in name for name in names):
        return "pt2"
    if model.suffix in WEIGHTS or model.name.endswith(".safetensors.index.json"):
        if factory is not None:
            return "factory"
        _refuse_whole(model)
        raise MarsmithError(
            f"{model.name} holds weights alone; the code that they belong to is not in it",
            "say what makes the module: --factory my_package.models:make",
        )
    if model.suffix in OTHERS:
        what, instead = OTHERS[model.suffix]
        raise MarsmithError(f"{model.name} is {what}, and can't be built", instead)
    raise MarsmithError(f"it is not known what {model.name} is", f"it may be {KINDS}")


def _refuse_whole(model: Path) -> None:
    """Refuse a pickle that is more than weights; nothing of it is run."""
    from marsmith.sources import _checkpoints, _pickles

    if model.suffix in (".safetensors", ".json") or not _pickles.is_pickle(model):
        return
    if not _pickles.is_plain(model):
        raise MarsmithError(
            f"{model.name} is a whole module, or another object, as a pickle: to read it is to run"
            " code that is in it",
            "with --factory my_package.models:make its weights are read and nothing is run; "
            + _checkpoints.unpickle_hint(model),
        )


def _names(model: Path) -> list[str]:
    try:
        with zipfile.ZipFile(model) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return []


def _from_the_model(model: Path, key: str, config: type[Config]) -> dict[str, object]:
    """The settings that the model itself tells: the size of the images that it takes."""
    known = {field.name for field in dataclasses.fields(config)}
    if key != "onnx" or not {"resize", "greyscale"} <= known:
        return {}
    from marsmith.sources.onnx import shapes

    match shapes(model):
        case [[_, 1, int(height), int(width)]]:
            return {"greyscale": True, "resize": [height, width]}
        case [[_, 3, int(height), int(width)]]:
            return {"resize": [height, width]}
    return {}


def _one_at_a_time(model: Path) -> bool:
    """Whether an ONNX file takes a batch of one, and no other."""
    from marsmith.sources.onnx import shapes

    return all(shape[0] == 1 for shape in shapes(model) if shape)


def _block(settings: object) -> list[str]:
    return yaml.safe_dump(settings, sort_keys=False, default_flow_style=False).splitlines()


def _indented(settings: object) -> Iterator[str]:
    text = yaml.safe_dump(settings, sort_keys=False, default_flow_style=None)
    return (f"  {line}" for line in text.splitlines())


def _unsaid(config: type[Config], said: dict[str, object]) -> Iterator[str]:
    """The settings that are left at their defaults, in comments: what each is, and may be."""
    allowed = cast("Mapping[str, Any]", json_schema(config)["properties"])
    common = {field.name for field in dataclasses.fields(Config)}
    for field in dataclasses.fields(config):
        if field.name in common or field.name in said:
            continue
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        text = yaml.safe_dump({field.name: default}, default_flow_style=True, width=1000)
        about = f"{field.metadata.get('doc', '')} ({type_of(allowed[field.name])})"
        yield from textwrap.wrap(about, WIDTH, initial_indent=ABOUT, subsequent_indent=ABOUT)
        yield f"#   {text.strip()[1:-1]}"
