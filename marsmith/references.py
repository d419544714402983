"""What a recipe names by "module:function"."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marsmith.errors import RecipeError


def here_on_path() -> None:
    """Make the modules of the current folder importable, before any others."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def resolve(reference: str) -> Callable[..., Any]:
    """Import what a "module:function" names.

    The module is looked up where Python looks, and in the current folder.

    Raises:
        RecipeError: it isn't of that form, or there is no such module or function.
    """
    name, _, attribute = reference.partition(":")
    if not name or not attribute:
        raise RecipeError(f"{reference!r} must be of the form module:function")
    here_on_path()
    try:
        function = getattr(importlib.import_module(name), attribute)
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"{reference!r} can't be imported: {error}",
            "run the command from the folder that has the module, or pip install it",
        ) from error
    except AttributeError:
        raise RecipeError(f"there is no {attribute!r} in {name}") from None
    if not callable(function):
        raise RecipeError(f"{reference!r} is not a function")
    return function  # type: ignore[no-any-return]
