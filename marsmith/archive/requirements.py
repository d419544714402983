"""What a handler of one's own needs installed where it serves: declared, or refused by name.

What is imported by a name that is computed at run time can't be seen in the source.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from importlib import metadata
from pathlib import Path

from handlers import runtimes
from marsmith import imports
from marsmith.archive.contents import own_code
from marsmith.archive.names import NEEDED
from marsmith.archive.packages import brings
from marsmith.errors import BuildError
from marsmith.recipe.pins import canonical, split_pin
from marsmith.recipe.sections import Recipe

BASE = NEEDED | sys.stdlib_module_names
"""What is there wherever an archive is served."""


def check(recipe: Recipe, files: Mapping[str, Path], engines: Collection[str]) -> None:
    """Check that what a recipe's handler needs is declared, and installed as it is declared.

    Args:
        recipe: its task, and `requirements`.
        files: what travels, by the path in the archive; see `contents.travelling`.
        engines: the runtimes that the archive may be made for.

    Raises:
        BuildError: a package that is declared isn't installed in that version; or the handler's
            code imports what neither travels, nor is declared, nor is there anyway.
    """
    declared = dict(map(split_pin, recipe.requirements))
    for name, version in declared.items():
        _check_installed(name, version)
    if own_code(recipe.task) is None:
        return
    there = BASE | _needed_by_all(engines)
    module = recipe.task.partition(":")[0]
    foreign = {k: v for k, v in imported(files, module).items() if k not in there}
    if not foreign:
        return
    known = brings()
    for name, importers in sorted(foreign.items()):
        if declared.keys().isdisjoint(map(canonical, known.get(name, ()))):
            _refuse(name, importers, known.get(name, ()))


def imported(files: Mapping[str, Path], module: str) -> dict[str, list[str]]:
    """What code that travels imports from elsewhere, wherever in it the import stands.

    An import that isn't installed here, in a `try` that goes on without it, doesn't count: the
    archive is verified without it.

    Args:
        files: what travels, by the path in the archive.
        module: where to begin; other modules count if it imports them, directly or not.

    Returns:
        By the outermost name, such as "rapidfuzz", the paths of the files that import it.
    """
    roots = {name.partition("/")[0].removesuffix(".py") for name in files}
    found: dict[str, list[str]] = {}
    todo, seen = list(_parents(module)), set(_parents(module))
    while todo:
        name = todo.pop()
        path = _path_of(name, files)
        if path is None:
            continue
        tried = imports.optional(files[path], name)
        for each in imports.named(files[path], name):
            top = each.partition(".")[0]
            if top in roots:
                new = [parent for parent in _parents(each) if parent not in seen]
                todo += new
                seen |= set(new)
            elif each not in tried or imports.file_of(top):
                found.setdefault(top, [])
                found[top] += [path] if path not in found[top] else []
    return found


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _path_of(module: str, files: Mapping[str, Path]) -> str | None:
    base = module.replace(".", "/")
    return next((p for p in (f"{base}/__init__.py", f"{base}.py") if p in files), None)


def _needed_by_all(engines: Collection[str]) -> set[str]:
    """What the files of all these runtimes import: whichever is shipped, it is there."""
    each = [_outermost(f"{runtimes.__name__}.{name}") for name in engines]
    return set.intersection(*each) if each else set()


def _outermost(module: str) -> set[str]:
    file = imports.file_of(module)
    return {name.partition(".")[0] for name in imports.named(file, module)} if file else set()


def _check_installed(name: str, version: str) -> None:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        raise BuildError(
            f"'requirements' declares {name}, which is not installed",
            f"pip install {name}=={version}",
        ) from None
    if version not in (found, found.partition("+")[0]):
        raise BuildError(
            f"'requirements' declares {name} {version}, and {found} is installed: what is verified"
            " would be another than what is served",
            f"pip install {name}=={version}; or declare {name}=={found}",
        )


def _refuse(name: str, importers: Iterable[str], packages: Iterable[str]) -> None:
    said = f"{', '.join(importers)} imports {name!r}, which a server may not have"
    if known := sorted(set(packages)):
        pins = " or ".join(f"{each}=={metadata.version(each)}" for each in known)
        raise BuildError(f"{said}, and 'requirements' doesn't declare it", f"declare {pins}")
    file = imports.file_of(name)
    if file is not None:
        place = file.parent if file.name == "__init__.py" else file
        raise BuildError(
            f"{said}: {place.name} doesn't travel in the archive",
            f"name {place.name} in the recipe's 'files'",
        )
    raise BuildError(
        f"{said}, and no package that is installed here brings it",
        "install the package that does, and declare it in the recipe's 'requirements'",
    )
