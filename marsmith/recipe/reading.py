"""Read a recipe from a YAML file; errors name the key that is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, get_args

import yaml
from pydantic import ValidationError

from handlers import by_name, runtimes, tasks
from handlers.errors import LoadError
from handlers.schema import SchemaError, unknown
from marsmith.errors import RecipeError
from marsmith.our_handlers import refuse_hidden
from marsmith.recipe import modules
from marsmith.recipe.candidate import split
from marsmith.recipe.references import imported_by, locate
from marsmith.recipe.sections import Pass, Recipe, Section, Source
from marsmith.shipped import shipped

# By name: the modules of these import what a recipe is made of.
SOURCES, PASSES = "marsmith.sources", "marsmith.passes"

S = TypeVar("S", bound=Section)

DATA = ("evaluation", "calibration")
ARRAY_FILES = (".npz", ".npy")

Given = Recipe | str | Path | Mapping[str, object]
"""A recipe, or what it can be read from."""


def load(recipe: Given) -> Recipe:
    """Read a recipe; the modules that it names may lie beside it, or in the current folder.

    Args:
        recipe: a YAML file; or what one would say, whose paths are relative to the current folder;
            or a recipe, which is returned as it is.

    Raises:
        RecipeError: there is no such file, it isn't YAML, or something in it isn't allowed; the
            message names the key, and the nearest allowed one.
    """
    if isinstance(recipe, Recipe):
        modules.use(recipe.file.parent if recipe.file else Path(), Path())
        return recipe
    path = Path("recipe") if isinstance(recipe, Mapping) else Path(recipe)
    data = dict(recipe) if isinstance(recipe, Mapping) else _read(path)
    modules.use(path.parent, Path())
    data = {**data, "source": _source(data.get("source"), path), "files": _files(data, path)}
    data |= {name: _with_files(data[name], path) for name in DATA if name in data}
    for key in ("candidates", "requirements"):
        if isinstance(several := data.get(key), list):
            data[key] = tuple(several)
    try:
        if "passes" in data:
            data["passes"] = _passes(data["passes"], path)
        made = Recipe.model_validate(data)
        if ":" in made.task:
            refuse_hidden(made.task, imported_by(made.task))
        with modules.importing():
            tasks.find(made.task).settings(made.handler_section)
    except ValidationError as error:
        raise _explained(error, path) from None
    except (LoadError, SchemaError) as error:
        raise RecipeError(f"{path.name}: {error}") from None
    if made.runtime not in (known := ["auto", *runtimes.known()]):
        raise RecipeError(f"{path.name}: {unknown(made.runtime, known, 'the runtimes')}")
    for name in made.candidates:
        split(name)
    if not isinstance(recipe, Mapping):
        made._path = path
    return made


def _read(path: Path) -> dict[str, object]:
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise RecipeError(
            f"the recipe {path} can't be read: {error.strerror}",
            f"`marsmith new` writes one; there are others in {shipped('archiver_configs')}",
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise RecipeError(
            f"{path} is not YAML: {place}{error.problem or error.context}",
            "mend it there: a bracket, a quote or the spaces before a key",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path} must be a mapping of settings")
    return data


def _source(data: object, path: Path) -> Source:
    if isinstance(data, Source):  # of a module in memory
        return data
    known = by_name.known(SOURCES)
    if not isinstance(data, dict):
        raise RecipeError(f"{path.name}: 'source' must be a mapping with one of {', '.join(known)}")
    named = [key for key in data if key in known]
    if len(named) != 1:
        guess = [m for key in data for m in difflib.get_close_matches(str(key), known, n=1)]
        hint = f"did you mean {guess[0]!r}?" if guess else ""
        raise RecipeError(
            f"{path.name}: 'source' must name one of {', '.join(known)}; it has {list(data)}", hint
        )
    kind = by_name.only(by_name.find(SOURCES, named[0], "'source'"), Source)
    return _section(kind, data, path, "source")


def _passes(data: object, path: Path) -> tuple[Pass, ...]:
    named = [
        (each, None) if isinstance(each, str) else next(iter(each.items()))
        for each in (data if isinstance(data, list) else ())
        if isinstance(each, str) or (isinstance(each, dict) and len(each) == 1)
    ]
    if not isinstance(data, list) or len(named) < len(data):
        known = ", ".join(by_name.known(PASSES))
        raise RecipeError(
            f"{path.name}: 'passes' must be a list of names, each alone or with a mapping of its"
            f" settings; there are: {known}"
        )
    made = []
    for index, (name, settings) in enumerate(named):
        kind = by_name.only(by_name.find(PASSES, str(name), "'passes'"), Pass)
        made.append(_section(kind, settings or {}, path, f"passes.{index}.{name}"))
    return tuple(made)


def _section(kind: type[S], data: object, path: Path, where: str) -> S:
    """Make a section of the class that the recipe chose, and find its paths."""
    if not isinstance(data, dict):
        raise RecipeError(f"{path.name}: {where} must be a mapping of settings")
    kinds = {name: field.annotation for name, field in kind.model_fields.items()}
    found = {key: _located(value, kinds.get(key), path) for key, value in data.items()}
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise _explained(error, path, where, kind) from None


def _located(value: object, annotation: object, path: Path) -> object:
    """A path, from where the recipe is; where a name may stand, too, if it is there, or no name."""
    allowed = (annotation, *get_args(annotation))
    if Path not in allowed or not isinstance(value, str):
        return value
    found = locate(value, path.parent)
    return found if str not in allowed or "/" in value or found.exists() else value


def _files(data: Mapping[str, object], path: Path) -> tuple[Path, ...]:
    names = data.get("files", [])
    if not isinstance(names, list) or not all(isinstance(name, (str, Path)) for name in names):
        raise RecipeError(f"{path.name}: 'files' must be a list of paths")
    files = tuple(locate(str(name), path.parent) for name in names)
    for file in files:
        if not file.exists():
            raise RecipeError(f"{path.name}: 'files' names {file}, which does not exist")
    return files


def _with_files(section: object, path: Path) -> object:
    """A section whose data is files, where they are."""
    if not isinstance(section, dict):
        return section
    return {
        key: str(locate(value, path.parent))
        if isinstance(value, str) and value.endswith(ARRAY_FILES)
        else value
        for key, value in section.items()
    }


def _explained(
    invalid: ValidationError, path: Path, prefix: str = "", model: type[Section] = Recipe
) -> RecipeError:
    """An error with a line for each thing that is wrong."""
    lines = []
    for error in invalid.errors():
        *parents, key = place = [str(part) for part in error["loc"]] or [""]
        said = f"{error['msg'][0].lower()}{error['msg'][1:]}"
        section = ".".join(filter(None, [prefix, *parents]))
        line = f"{'.'.join(filter(None, [prefix, *place]))}: {said}"
        if error["type"] == "extra_forbidden":
            line = unknown(key, list(_inner(model, parents).model_fields), section or path.name)
        lines.append(f"{path.name}: {line}")
    return RecipeError("\n".join(lines))


def _inner(model: type[Section], parents: Sequence[str]) -> type[Section]:
    """The section within a section that a path of keys leads to."""
    for parent in parents:
        annotation = model.model_fields[parent].annotation
        kinds = [annotation, *get_args(annotation)]
        model = next(each for each in kinds if isinstance(each, type))
    return model
