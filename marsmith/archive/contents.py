"""What travels in an archive beside the model: a recipe's files, and a handler of one's own.

A name in the archive is an import name, too: Python finds what lies at its root before anything
that the server has.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from marsmith import our_handlers
from marsmith.archive.names import NEEDED
from marsmith.errors import BuildError
from marsmith.recipe.references import imported_by
from marsmith.recipe.sections import Recipe

OURS = frozenset({"handlers", "MAR-INF", "archive_entry.py", "model-config.yaml"})
LEFT_OUT = frozenset({"__pycache__"})


def travelling(recipe: Recipe) -> dict[str, Path]:
    """What a recipe adds to an archive: its files and folders, and the package of its own task.

    Returns:
        The file to copy, by its path in the archive with "/" between the parts.

    Raises:
        BuildError: two things have one name, or a name is one that the archive needs itself or
            that would hide what a server needs.
    """
    roots: dict[str, Path] = {}
    own = own_code(recipe.task)
    for path in (*recipe.files, *([own] if own else [])):
        root = Path(os.path.normpath(path.absolute()))  # a link travels under its own name
        if roots.setdefault(root.name, root) != root:
            raise BuildError(f"two files of the archive would be named {root.name}")
        _check(root)
    return {name: file for root in roots.values() for name, file in _files(root)}


def own_code(task: str) -> Path | None:
    """The folder or the file that a task of one's own is imported from; None for one of ours.

    Args:
        task: "module:Class", or a module of `handlers`. For "package.module:Class" the result
            is the folder of `package`.

    Raises:
        BuildError: the task was not imported from one folder or file, or it needs what can't
            travel.
    """
    module, colon, _ = task.partition(":")
    top = module.partition(".")[0]
    if not colon:
        return None
    for place in our_handlers.used(imported_by(task)):
        raise BuildError(
            f"the task {task!r} uses {place}, which can't travel: in an archive, too,"
            f" {place.stem!r} is a package of marsmith's",
            our_handlers.RENAME,
        )
    if top == "handlers":
        return None
    # `__main__` is another module in each process.
    found = None if top == "__main__" else importlib.util.find_spec(top)
    places = [] if found is None else list(found.submodule_search_locations or [])
    if found is not None and found.has_location and not places:
        places = [str(found.origin)]
    if len(places) != 1:
        raise BuildError(
            f"the task {task!r} can't travel: {top!r} lies in {len(places)} folders, not in one",
            "put the handler into a package, or a file, that can be imported",
        )
    return Path(places[0])


def copy(files: dict[str, Path], into: Path, taken: Collection[str] = ()) -> None:
    """Copy what travels into a folder.

    Args:
        files: see `travelling`.
        into: the folder.
        taken: names at its root that are in use.

    Raises:
        BuildError: a name would be used twice.
    """
    for name, file in files.items():
        if (root := name.partition("/")[0]) in taken:
            raise BuildError(f"two files of the archive would be named {root}")
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, into / name)


def _check(root: Path) -> None:
    code = root.suffix == ".py" or (root / "__init__.py").is_file()
    if root.name in OURS or (code and root.stem in NEEDED):
        raise BuildError(
            f"{root.name} can't travel under its name: it is one of the archive's own, or of"
            " what every server needs",
            "give it another name",
        )
    if code and root.stem in sys.stdlib_module_names:
        raise BuildError(
            f"{root.name} would hide Python's own module {root.stem}", "give it another name"
        )


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    if not root.is_dir():
        yield root.name, root
        return
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if _is_kept(name))
        for name in folders:
            if (Path(folder) / name).is_symlink():
                raise BuildError(f"{Path(folder) / name} is a link to a folder, and can't travel")
        for name in sorted(filter(_is_kept, names)):
            file = Path(folder) / name
            yield f"{root.name}/{file.relative_to(root).as_posix()}", file


def _is_kept(name: str) -> bool:
    return name not in LEFT_OUT and not name.startswith(".")
