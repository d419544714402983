"""One file per head: how a Hugging Face folder becomes a module for a task, and what travels.

The module's name is the key that a recipe's `source.head` says, by default its task. A head has

- `AUTO`, the class of transformers that reads the folder; "" for the one that config.json names;
- `wrap(model, folder)`, which makes what was read a module that takes tensors by position;
- `untouched(folder, instances, handler)`, what transformers itself makes of instances, as far as
  the `handler:` section says nothing else; None where `wrap` has compared the two already;
- `bring(module, folder, out)`, which writes the folder's files that travel into `out`, and returns
  defaults for the recipe's `handler:` section: file names, lengths, labels.
"""

from __future__ import annotations

import importlib
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from handlers import by_name
from handlers.errors import HandlerError
from marsmith.errors import BuildError, MarsmithError, RecipeError, UnsupportedError, reason
from marsmith.recipe.sections import Untouched


class Head(Protocol):
    """What a file of this package has."""

    AUTO: str
    wrap: Callable[[torch.nn.Module, Path], torch.nn.Module]
    untouched: Callable[[Path, Sequence[object], Mapping[str, object]], Untouched | None]
    bring: Callable[[torch.nn.Module, Path, Path], Mapping[str, object]]


def known() -> list[str]:
    """The heads there are."""
    return by_name.known(__name__)


def find(name: str) -> Head:
    """The head of that name.

    Raises:
        RecipeError: there is none.
    """
    return cast(Head, by_name.find(__name__, name, "'head'", RecipeError))


def own_class(folder: Path) -> str:
    """The name of the class of transformers that a folder's config.json says its model is.

    Raises:
        BuildError: it says none.
        UnsupportedError: transformers has no such model.
    """
    named = read_object(folder / "config.json").get("architectures")
    name = named[0] if isinstance(named, list) and named else None
    if not isinstance(name, str):
        raise BuildError(
            f"{folder / 'config.json'} doesn't name its model's class in 'architectures'",
            "save it anew with save_pretrained(FOLDER)",
        )
    transformers: Any = importlib.import_module("transformers")
    kind = getattr(transformers, name, None)
    if not isinstance(kind, type) or not issubclass(kind, transformers.PreTrainedModel):
        raise UnsupportedError(
            f"{folder.name} is a {name}, which transformers {transformers.__version__} doesn't have"
        )
    return name


def raised(error: Exception) -> str:
    """What a model's own code has raised: the kind, the message and the line.

    "list index out of range" by itself tells nobody what is wrong.
    """
    if isinstance(error, (HandlerError, MarsmithError)):
        return error.message
    said, kind = reason(error), type(error).__name__
    places = [
        each
        for each in traceback.extract_tb(error.__traceback__)
        if "transformers" in Path(each.filename).parts
    ]
    where = [f" ({Path(each.filename).name}, line {each.lineno}: {each.line})" for each in places]
    return f"{kind}{'' if said == kind else f': {said}'}{where[-1][:200] if where else ''}"


def read_object(path: Path) -> dict[str, object]:
    """Read a JSON file that holds an object.

    Raises:
        BuildError: the file is missing, not JSON, or holds something else.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise BuildError(f"{path} must be an object")
    return found


def read_json(path: Path) -> object:
    """Read a JSON file.

    Raises:
        BuildError: the file is missing, or not JSON.
    """
    try:
        found: object = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BuildError(f"{path} can't be read: {error}") from error
    return found
