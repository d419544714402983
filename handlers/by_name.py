"""Find modules by name: the name of a file in a package is the key of what it defines."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

from handlers.errors import LoadError
from handlers.schema import unknown

T = TypeVar("T")


def known(package: str) -> list[str]:
    """The names of a package's modules, without those that begin with an underscore."""
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(module.name for module in modules if not module.name.startswith("_"))


def find(
    package: str, name: str, what: str, error: Callable[[str], Exception] = LoadError
) -> ModuleType:
    """The module of that name.

    Args:
        package: the package's own name, such as "handlers.runtimes".
        name: one of `known`.
        what: the setting that has the name, for the message: "'runtime'".
        error: what is raised when there is no such module.

    Raises:
        LoadError: or another `error`: there is no such module; the message has the nearest name
            and all there are.
    """
    if name not in (there := known(package)):
        raise error(unknown(name, there, what))
    return importlib.import_module(f"{package}.{name}")


def only(module: ModuleType, kind: type[T], name: str = "") -> type[T]:
    """The only class of a kind that a module defines.

    Args:
        module: where it is defined; what it imports from elsewhere doesn't count.
        kind: what it must be a subclass of, with nothing left that is abstract.
        name: its own, when there may be several.

    Raises:
        LoadError: there is none, or more than one.
    """
    defined = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, kind)
        and value.__module__ == module.__name__
        and name in ("", value.__name__)
    ]
    found = [value for value in defined if not inspect.isabstract(value)]
    if len(found) != 1:
        wanted = name or f"subclass of {kind.__name__}"
        told = f"{module.__name__} must define one {wanted}; it defines {len(found)}"
        for value in set(defined) - set(found):
            missing = ", ".join(sorted(getattr(value, "__abstractmethods__", ())))
            told += f" ({value.__name__} isn't one, because it lacks {missing})"
        raise LoadError(told)
    return found[0]
