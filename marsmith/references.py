"""What a recipe names: "module:function", and files, relative to it or "package:path"."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from marsmith.errors import RecipeError

INSTALLED = {"site-packages", "dist-packages"}
STANDARD = Path(sysconfig.get_path("stdlib"))
OURS = {"handlers", "marsmith"}


def on_path(folder: Path) -> None:
    """Make the modules of a folder importable, before any others."""
    if (place := str(folder.absolute())) not in sys.path:
        sys.path.insert(0, place)


def resolve(reference: str) -> Callable[..., Any]:
    """Import what a "module:function" names.

    The module is looked up where Python looks, and in the current folder.

    Raises:
        RecipeError: it isn't of that form, or there is no such module or function.
    """
    name, _, attribute = reference.partition(":")
    if not name or not attribute:
        raise RecipeError(f"{reference!r} must be of the form module:function")
    on_path(Path())
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


def source_files(reference: str) -> list[Path]:
    """The files that what a "module:function" names is made of; for keys of what depends on it.

    Its own file, and what it imports from the same folder of packages, and they, too. Of what
    is installed it is the one file: that doesn't change from build to build.
    """
    resolve(reference)
    name = reference.partition(":")[0]
    own = _file_of(name)
    if own is None or _installed(own):
        return [own] if own else []
    root = own.parents[name.count(".") + (own.name == "__init__.py")]
    found, todo = {own: name}, [own]
    while todo:
        file = todo.pop()
        for imported in _imports(file, found[file]):
            if imported.partition(".")[0] in OURS:
                continue
            other = _file_of(imported)
            if other and other not in found and root in other.parents and not _installed(other):
                found[other] = imported
                todo.append(other)
    return sorted(found)


def _installed(file: Path) -> bool:
    return bool(INSTALLED & set(file.parts)) or STANDARD in file.parents


def _file_of(name: str) -> Path | None:
    spec = _spec_of(name)
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def _spec_of(name: str) -> ModuleSpec | None:
    """Where a module is, without importing the packages that lead to it: they may do anything."""
    parent, _, _ = name.rpartition(".")
    if parent:
        above = _spec_of(parent)
        places = above.submodule_search_locations if above else None
        return PathFinder.find_spec(name, places) if places else None
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # of what has no file
        return None


def _imports(file: Path, name: str) -> Iterator[str]:
    """What a module may import, anywhere in it, and the packages that lead there."""
    if file.suffix != ".py":
        return
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    named: list[str] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            named += [f"{base}.{alias.name}" for alias in node.names]  # a module, or what it has
    for each in named:
        parts = each.split(".")
        yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def locate(name: str, folder: Path) -> Path:
    """The file or folder that a recipe names.

    Args:
        name: a path, relative to the recipe; or "package:path", inside an installed package.
        folder: the recipe's.

    Raises:
        RecipeError: there is no such package.
    """
    package, colon, inside = name.partition(":")
    if not colon or not package.replace(".", "_").isidentifier() or len(package) == 1:
        return folder / name  # one letter is a drive
    on_path(Path())
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None or not found.submodule_search_locations:
        raise RecipeError(
            f"{name!r} names the package {package!r}, which is not installed",
            f"pip install {package.partition('.')[0].replace('_', '-')}",
        )
    return Path(found.submodule_search_locations[0]) / inside
