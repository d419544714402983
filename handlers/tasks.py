"""Which class serves a task: the module's name is the key, there is no registry."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import handlers
from handlers import by_name
from handlers.base import Handler
from handlers.errors import LoadError
from handlers.schema import unknown


def find(name: str) -> type[Any]:
    """The handler class of a task.

    Args:
        name: a module of `handlers` ("image_classification"), whose one subclass of `Handler`
            it is, or "module:Class" of one's own.

    Raises:
        LoadError: there is no such task; the message has the nearest and all there are.
    """
    module_name, _, class_name = name.partition(":")
    if not class_name:
        if name not in _modules():
            raise LoadError(unknown(name, known(), "'task'"))
        module_name = f"handlers.{name}"
    try:
        classes = _handlers_in(module_name)
    except Exception as error:  # a module of one's own may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise LoadError(f"the task {name!r} can't be imported: {reason}") from error
    if not class_name and not classes:
        raise LoadError(unknown(name, known(), "'task'"))
    if class_name:
        classes = [found for found in classes if found.__name__ == class_name]
    if len(classes) != 1:
        wanted = class_name or "subclass of Handler"
        raise LoadError(f"{module_name} must define one {wanted}; it defines {len(classes)}")
    return classes[0]


def known() -> list[str]:
    """The tasks there are: the modules of `handlers` that define a complete `Handler`."""
    return [name for name in _modules() if _handlers_in(f"handlers.{name}")]


def _modules() -> list[str]:
    # The entry point is a task only inside an archive.
    return [name for name in by_name.known(handlers.__name__) if name != "archive_entry"]


def _handlers_in(module_name: str) -> list[type[Any]]:
    module = importlib.import_module(module_name)
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Handler)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    ]
