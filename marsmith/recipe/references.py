"""Find what a recipe names: "module:function", and files, relative to it or "package:path"."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from marsmith import causes, imports, our_handlers
from marsmith.errors import RecipeError, reason
from marsmith.recipe import modules


def on_path(folder: Path) -> None:
    """Make the modules of a folder importable, before all others except ours."""
    if (place := str(folder.absolute())) not in sys.path:
        sys.path.insert(0, place)
    our_handlers.claim()


def resolve(reference: str) -> Callable[..., Any]:
    """Import what a "module:function" names.

    The module is looked for where Python looks, and in the current folder.

    Raises:
        RecipeError: it isn't of that form, there is no such module or function, or its code
            would import another `handlers` than it means.
    """
    name, _, attribute = reference.partition(":")
    if not name or not attribute:
        raise RecipeError(
            f"{reference!r} must be of the form module:function",
            f"as '{name.rpartition('.')[0]}:{name.rpartition('.')[2]}'" if "." in name else "",
        )
    on_path(Path())
    our_handlers.refuse_hidden(reference, imported_by(reference))
    _refuse_another(reference, name)
    try:
        with modules.importing():
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"{reference!r} can't be imported: {error}{causes.own_place(error)}",
            "run the command from the folder that has the module, or pip install it",
        ) from error
    except (Exception, SystemExit) as error:  # whatever the module's own code raises
        said = f"{type(error).__name__}: {reason(error)}"
        raise RecipeError(
            f"{reference!r} can't be imported: {said}{causes.own_place(error)}",
            "mend it there: it must do no more than define things when it is imported",
        ) from error
    try:
        function = getattr(module, attribute)
    except AttributeError:
        near = difflib.get_close_matches(attribute, vars(module), n=1)
        place = getattr(module, "__file__", None) or "a file of its own"
        hint = f"did you mean {near[0]!r}?" if near else f"define it in {place}"
        if name == "__main__":  # in another process than the script's, or the notebook's
            hint = (
                f"name it by its file: 'my_script:{attribute}' for my_script.py, which must do"
                " nothing more when it is imported; what is in a notebook goes into such a file"
            )
        raise RecipeError(f"there is no {attribute!r} in {name}", hint) from None
    if not callable(function):
        raise RecipeError(f"{reference!r} is not a function")
    return function  # type: ignore[no-any-return]


def _refuse_another(reference: str, name: str) -> None:
    """Refuse a module that the program imported from another place than the recipe means."""
    for end in range(1, name.count(".") + 2):  # its packages, from the outermost, then itself
        each = ".".join(name.split(".")[:end])
        loaded, found = modules.meant(each)
        if each != our_handlers.NAME and loaded and found and loaded.resolve() != found.resolve():
            raise RecipeError(
                f"{reference!r} means {found}, and {each!r} has been imported from {loaded}",
                "give one of them another name, or build in a program that doesn't import it",
            )


def named(function: Callable[..., Any]) -> str:
    """The "module:function" that a function is found by again.

    Raises:
        RecipeError: there is none: it is in another function, say, or has no name.
    """
    module, name = (getattr(function, each, "") for each in ("__module__", "__qualname__"))
    if getattr(sys.modules.get(module), name, None) is not function:
        raise RecipeError(
            f"{function!r} can't be found again by a name",
            "define it with def, or class, at the top of a module or of a cell, and give that",
        )
    return f"{module}:{name}"


def source_files(reference: str) -> list[Path]:
    """The files that a "module:function" is made of, for keys of what depends on it.

    They are its own file, and the files that this imports, directly or not, from the same folder
    of packages. Only the own file counts if it is installed: then it doesn't change from build to
    build.
    """
    resolve(reference)
    return imports.closure([reference.partition(":")[0]], ours=False)


def imported_by(reference: str) -> Iterator[str]:
    """The names that a "module:function" and its `source_files` import, after its own name."""
    yield reference.replace(":", ".")
    yield from imports.imported_by(reference.partition(":")[0])


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
    places = [Path(place) / inside for place in found.submodule_search_locations]
    return next((place for place in places if place.exists()), places[0])
