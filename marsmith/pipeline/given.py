"""A recipe of what is in memory: a module, its data, and functions of a script or a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from handlers.schema import unknown
from marsmith.client import bodies
from marsmith.errors import RecipeError
from marsmith.recipe import reading, references
from marsmith.recipe.live_data import LiveData
from marsmith.recipe.sections import Recipe
from marsmith.sources._module import LABELS, LiveModule

EXAMPLE = "marsmith.build(module, name='my_model', task='image_classification', data=held_out)"
NEEDED = ("name", "task")


def recipe_of(given: object, settings: Mapping[str, object]) -> Recipe:
    """The recipe of what `build` is given.

    Args:
        given: a recipe, in any form that `load` takes; or a module.
        settings: beside a module, the sections of its recipe, but for the source. Instead of the
            name of a function the function may be given; instead of that of data, the data, a
            list; and `data` alone for `evaluation={"data": ...}`. `labels` are the names of the
            classes, in the order of the logits, in the place of a file of them.

    Raises:
        RecipeError: it is something else; or a setting isn't allowed, or is missing.
        MarsmithError: data has something in it that can't be sent.
    """
    if isinstance(given, torch.nn.Module):
        return reading.load(_settings(given, settings))
    if not isinstance(given, (Recipe, str, Path, Mapping)):
        kind = given.__name__ if isinstance(given, type) else type(given).__name__
        hint = f"make one: {kind}(...)" if isinstance(given, type) else EXAMPLE
        raise RecipeError(f"{kind} is neither a recipe, nor a file of one, nor an nn.Module", hint)
    if settings:
        raise RecipeError(
            f"{', '.join(settings)}: settings stand in a recipe", "beside a module they may be here"
        )
    if isinstance(given, Mapping) and any(isinstance(v, torch.Tensor) for v in given.values()):
        raise RecipeError("a state_dict has no code", f"load it into its module: {EXAMPLE}")
    return reading.load(given)


def _settings(module: torch.nn.Module, given: Mapping[str, object]) -> dict[str, object]:
    allowed = ["data", "labels", *(name for name in Recipe.model_fields if name != "source")]
    for name in given:
        if name not in allowed:
            raise RecipeError(unknown(name, allowed, "what is said of a module"))
    if missing := [name for name in NEEDED if given.get(name) is None]:
        raise RecipeError(f"a module needs a {' and a '.join(missing)}", EXAMPLE)
    settings = {name: _named(given[name]) for name in given if name not in ("data", "labels")}
    if (data := given.get("data")) is not None:
        evaluation = settings.get("evaluation", {})
        if not isinstance(evaluation, dict) or "data" in evaluation:
            raise RecipeError("'data' is said twice", "say it once: data=..., or in evaluation")
        settings["evaluation"] = {"data": _named(data), **evaluation}
    for section in (settings.get(name) for name in reading.DATA):
        if isinstance(section, dict) and "data" in section:
            section["data"] = _data(section["data"])
    return {**settings, "source": LiveModule.of(module, _labels(given))}


def _labels(given: Mapping[str, object]) -> tuple[str, ...]:
    """The names of the classes; empty where a file has them, or nothing."""
    labels, handler = given.get("labels"), given.get("handler")
    if labels is None:
        return ()
    several = labels if isinstance(labels, (list, tuple)) else []
    names = tuple(label for label in several if isinstance(label, str))
    if not names or len(set(names)) != len(several):
        raise RecipeError(
            "labels must be a list of unique names, in the order of the logits",
            "a JSON file of them is named as in a recipe: files=['labels.json'],"
            " handler={'labels': 'labels.json'}",
        )
    files = given.get("files") or ()
    named = isinstance(files, Iterable) and any(Path(str(f)).name == LABELS for f in files)
    if named or (isinstance(handler, Mapping) and "labels" in handler):
        raise RecipeError("'labels' are said twice", "give the list, or the file that has them")
    return names


def _named(value: object) -> object:
    """A value with names in the place of functions."""
    if isinstance(value, Mapping):
        return {name: _named(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_named(each) for each in value]
    return references.named(value) if callable(value) else value


def _data(given: object) -> object:
    """Data, where it isn't a name."""
    if isinstance(given, str):
        return given
    if isinstance(given, (bytes, Mapping)) or not isinstance(given, Iterable):
        raise RecipeError(
            "data must be a list of request bodies, or of pairs (body, expected answer); it is"
            f" {type(given).__name__}"
        )
    return LiveData.of(bodies.of_items(list(given)))
