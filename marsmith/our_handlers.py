"""Keep the import name `handlers` for our package, beside users' folders of that name.

In every process of marsmith the name means our package, whatever Python would find first. A user's
folder is searched after it, so that a recipe can name `handlers.my_net:make`. What can't work that
way (a module with the name of one of ours, an `__init__.py` that must run) is refused.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from marsmith.errors import MarsmithError, RecipeError

NAME = "handlers"
HOME = Path(__file__).parents[1]
OURS = HOME / NAME
COPIED = "archive_entry.py"  # a folder with this file is a copy of ours: of a checkout, an archive
RENAME = f"give yours another name, such as my_{NAME}, and use that in the recipe and in imports"


def claim() -> None:
    """Import our `handlers`, and let folders of that name on `sys.path` be searched after it.

    Call it before anything that imports `handlers`, and again when `sys.path` has changed.

    Raises:
        MarsmithError: another `handlers` has been imported already.
    """
    if NAME not in sys.modules:
        sys.path.insert(0, str(HOME))
        try:
            importlib.import_module(NAME)
        finally:
            sys.path.remove(str(HOME))
    module = sys.modules[NAME]
    found = list(getattr(module, "__path__", []))
    if not found or not Path(found[0]).samefile(OURS):
        place = found[0] if found else module.__file__
        raise MarsmithError(
            f"{place} has been imported, and {NAME!r} is a package of marsmith's", RENAME
        )
    others = dict.fromkeys(Path(place, NAME).absolute() for place in sys.path)
    # In place: its spec has the same list.
    module.__path__[1:] = [
        str(each) for each in others if each.is_dir() and not (each / COPIED).is_file()
    ]


def used(imported: Iterable[str]) -> list[Path]:
    """The users' folders and files named `handlers` that code imports from.

    Args:
        imported: the names that the code imports, such as "handlers.my_net"; read only if there
            is another `handlers` than ours.
    """
    files = [file for place in sys.path if (file := Path(place, f"{NAME}.py")).is_file()]
    folders = [Path(place) for place in sys.modules[NAME].__path__[1:]]
    if not files and not folders:
        return []
    meant = {f"{name}.".split(".")[1] for name in imported if name.split(".")[0] == NAME}
    if meant - _modules(OURS):
        return [*files, *folders]
    return [folder for folder in folders if meant & _modules(folder)]


def refuse_hidden(reference: str, imported: Iterable[str]) -> None:
    """Refuse code that means a user's `handlers` and would get ours.

    Args:
        reference: what a recipe names.
        imported: the names that its code imports, including its own.

    Raises:
        RecipeError: there is a file `handlers.py`, a module with the name of one of ours, or an
            `__init__.py` that would not be run.
    """
    for place in used(imported):
        if wrong := _wrong(place):
            raise RecipeError(
                f"{reference!r} uses {place}, and {NAME!r} is a package of marsmith's: {wrong}",
                RENAME,
            )


def _wrong(place: Path) -> str:
    """Say why a file or a folder of that name can't be used beside ours; empty if it can."""
    if place.is_file():
        return "it is found, and not this file"
    if hidden := _modules(place) & _modules(OURS):
        return f"its {', '.join(sorted(hidden))} would be imported, and not yours"
    init = place / "__init__.py"
    body = ast.parse(init.read_bytes()).body if init.is_file() else []
    if not all(isinstance(e, ast.Expr) and isinstance(e.value, ast.Constant) for e in body):
        return "your __init__.py, which has code, would not be run"
    return ""


def _modules(folder: Path) -> set[str]:
    """The names that can be imported from a folder, even without an `__init__.py`."""
    found = {each.stem for each in folder.iterdir() if each.suffix == ".py" or each.is_dir()}
    return found - {"__init__", "__pycache__"}
