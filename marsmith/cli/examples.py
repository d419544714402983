"""`marsmith examples`: the recipes that come with marsmith, and a copy of one that builds alone."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from marsmith.cli import completion
from marsmith.cli.json_output import AsJson, print_json
from marsmith.cli.terminal import out
from marsmith.errors import MarsmithError, no_such

CODE = "examples"


def examples(
    name: Annotated[
        str | None, typer.Argument(help="Copy this one.", autocompletion=completion.examples)
    ] = None,
    to: Annotated[Path | None, typer.Option("--out", help="A new folder for the copy.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes that come with marsmith; or copy one with its code, so that it builds."""
    if name is None:
        _list(as_json)
        return
    folder = to or Path(name)
    written = [str(path) for path in copy(name, folder)]
    if as_json:
        print_json(written)
        return
    for path in written:
        out.print(f"wrote {path}", markup=False)
    out.print(f"next: cd {folder} && marsmith build {name}.yaml", markup=False)


def known() -> dict[str, tuple[str, str]]:
    """The recipes, each with its task and what its first line says."""
    import yaml

    from marsmith.shipped import shipped

    found = {}
    for path in sorted(shipped("archiver_configs").glob("*.yaml")):
        text = path.read_text("utf-8")
        first = text.partition("\n")[0]
        said = first.removeprefix("#").strip() if first[:1] == "#" else ""
        about = re.sub(r"[:.] [Ss]ee examples.*", "", said).rstrip(".")
        found[path.stem] = str(yaml.safe_load(text)["task"]), about
    return found


def _list(as_json: bool) -> None:
    found = known()
    if as_json:
        keys = ("task", "about")
        print_json({name: dict(zip(keys, of, strict=True)) for name, of in found.items()})
        return
    table = Table("example", "task", "what it is", box=SIMPLE, pad_edge=False)
    for name, (task, said) in found.items():
        table.add_row(name, task, escape(said))
    out.print(table)
    out.print("a copy that builds: marsmith examples NAME --out FOLDER", markup=False)


def copy(name: str, folder: Path) -> list[Path]:
    """Copy a recipe and the code that it names.

    Args:
        name: a recipe that comes with marsmith.
        folder: a new one, or an empty one.

    Returns:
        The files; the recipe first.

    Raises:
        MarsmithError: there is no such recipe, or the folder has something in it.
    """
    from marsmith.atomic import replacing
    from marsmith.shipped import shipped

    if name not in (there := completion.examples("")):
        raise MarsmithError(no_such("example", name, there), "`marsmith examples` lists them")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MarsmithError(f"{folder} exists, and is not empty", "say another with --out")
    recipe, code = shipped("archiver_configs") / f"{name}.yaml", shipped(CODE)
    files = [f"{CODE}/{file.name}" for file in needed(recipe.read_text("utf-8"), code)]
    with replacing(folder) as unfinished:
        (unfinished / CODE).mkdir(parents=True)
        shutil.copyfile(recipe, unfinished / recipe.name)
        for file in files:
            shutil.copyfile(code.parent / file, unfinished / file)
    return [folder / recipe.name, *(folder / file for file in files)]


def needed(recipe: str, code: Path) -> list[Path]:
    """The modules of the examples that a recipe names, and those that these import."""
    todo, found = list(_named(recipe, code)), {"__init__": code / "__init__.py"}
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = code / f"{name}.py"
            todo += _imported(found[name], code)
    return sorted(found.values())


def _named(recipe: str, code: Path) -> Iterator[str]:
    for file in code.glob("*.py"):
        if f"{CODE}.{file.stem}:" in recipe or f"{CODE}/{file.name}" in recipe:
            yield file.stem


def _imported(file: Path, code: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            paths = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Import):
            paths = [each.name for each in node.names]
        else:
            continue
        for path in paths:
            package, _, name = path.partition(".")
            if package == CODE and (code / f"{name}.py").is_file():
                yield name
