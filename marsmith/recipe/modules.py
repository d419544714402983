"""The modules that recipes name: those of the recipe at hand, and as they are on the disk now.

A process may build several recipes, or one again after its code was edited: a notebook does, or a
script. Python imports a name once. Without this, the second recipe's `model:make` would be the
first's, and what was edited wouldn't count.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from marsmith import imports, our_handlers


class Stamp(NamedTuple):
    """What tells a module from another of its name, and from itself before it was edited."""

    file: Path
    changed_ns: int
    size: int


SCRIPTS = ("__main__", "__mp_main__")
"""What runs is imported from nowhere."""

_imported: dict[str, Stamp] = {}
"""What recipes have imported in this process: users' modules, not installed and not ours."""


def use(*folders: Path) -> None:
    """Make the modules of folders importable, the last one's before all others except ours.

    What recipes have imported before is forgotten where the name now means another file, or the
    file has changed, and with it what imports it.
    """
    for folder in folders:
        place = str(folder.absolute())
        sys.path[:] = [place, *(each for each in sys.path if each != place)]
    our_handlers.claim()
    importlib.invalidate_caches()
    for name in [name for name, was in _imported.items() if was.file != _loaded(name)]:
        del _imported[name]  # somebody else's now
    gone = {name for name, was in _imported.items() if _stamp(_found(name)) != was}
    while more := {name for name in _imported.keys() - gone if not gone.isdisjoint(_needs(name))}:
        gone |= more
    for name in gone:
        del _imported[name]
        module = sys.modules.pop(name, None)
        package, _, within = name.rpartition(".")
        above = vars(sys.modules[package]) if package in sys.modules else {}
        if module is not None and above.get(within) is module:
            del above[within]  # or `from package import name` would find it there


@contextmanager
def importing() -> Iterator[None]:
    """Note what users' modules the block imports."""
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            if (file := _loaded(name)) and imports.is_users(file):
                _imported[name] = _stamp(file)


def meant(name: str) -> tuple[Path | None, Path | None]:
    """The file of a module as it is loaded, and the one that its name means now.

    What the program has imported itself is noted, too: it may be edited before the next build.
    """
    if name in SCRIPTS:
        return None, None
    file = _loaded(name)
    if file and name not in _imported and imports.is_users(file):
        _imported[name] = _stamp(file)
    return file, _found(name)


def _loaded(name: str) -> Path | None:
    """The file of a module; the folder of a package without one."""
    module = sys.modules.get(name)
    if file := getattr(module, "__file__", None):
        return Path(file)
    try:
        return Path(next(iter(getattr(module, "__path__", []))))
    except (StopIteration, KeyError):  # a package in one that is gone
        return None


def _found(name: str) -> Path | None:
    """Where a module would be imported from, if it weren't yet."""
    parent = name.rpartition(".")[0]
    places: Iterable[str] | None = getattr(sys.modules.get(parent), "__path__", None)
    if parent and places is None:
        return None
    for finder in sys.meta_path:
        spec = finder.find_spec(name, None if places is None else list(places))
        if spec is not None:
            where = spec.origin if spec.has_location else None
            where = where or next(iter(spec.submodule_search_locations or ()), None)
            return Path(where) if where else None
    return None


def _stamp(file: Path | None) -> Stamp:
    if file is None or not file.is_file():  # a folder, or within a zip
        return Stamp(file or Path(), 0, 0)
    found = file.stat()
    return Stamp(file, found.st_mtime_ns, found.st_size)


def _needs(name: str) -> set[str]:
    """The modules whose change is a change of this one."""
    try:
        said = {name, *imports.named(_imported[name].file, name)}
    except (OSError, SyntaxError):
        said = {name}
    parts = [each.split(".") for each in said]
    above = {".".join(each[:end]) for each in parts for end in range(1, len(each) + 1)}
    return above - {name}
