"""One file per task; the module's name is the key to its class, without a registry."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from handlers import by_name
from handlers.base import Handler
from handlers.errors import RAISED, LoadError


def find(name: str) -> type[Handler[Any, Any, Any]]:
    """The handler class of a task.

    Args:
        name: a module of this package ("image_classification"), whose one subclass of `Handler`
            it is, or "module:Class" of one's own.

    Raises:
        LoadError: there is no such task; the message has the nearest and all there are. Or the
            class isn't complete.
    """
    class_name = name.partition(":")[2]
    module = _import(name) if class_name else by_name.find(__name__, name, "'task'")
    found = by_name.only(module, Handler, class_name)  # type: ignore[type-abstract]  # subclasses
    if not hasattr(found, "Answer"):
        raise LoadError(f"{found.__name__} must have an 'Answer': a dataclass of what it answers")
    return found


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name.partition(":")[0])
    except RAISED as error:  # a module of one's own may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise LoadError(f"the task {name!r} can't be imported: {reason}") from error


def known() -> list[str]:
    """The tasks there are."""
    return by_name.known(__name__)
