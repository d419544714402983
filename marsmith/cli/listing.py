"""`marsmith tasks`, `runtimes`, `metrics` and `passes`: what there is, as the code itself says it.

A list is read off the files, so that it comes at once; one thing alone is imported.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from marsmith.cli import completion
from marsmith.cli.json_output import AsJson, print_json
from marsmith.cli.terminal import out
from marsmith.errors import MarsmithError, no_such

HOME = Path(__file__).parents[2]
FOLDERS = {
    "task": "handlers/tasks",
    "runtime": "handlers/runtimes",
    "metric": "marsmith/verify/metrics",
    "pass": "marsmith/passes",
}
Facts = dict[str, Any]


def tasks(
    name: Annotated[
        str | None, typer.Argument(help="Show one alone.", autocompletion=completion.tasks)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the tasks; or of one its settings, a request's options, and what it answers."""
    show("task", name, as_json)


def runtimes(
    name: Annotated[str | None, typer.Argument(help="Show one alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the ways to run a model; or of one its precisions and options."""
    show("runtime", name, as_json)


def metrics(
    name: Annotated[str | None, typer.Argument(help="Show one alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the measures of good answers; or what one takes and returns."""
    show("metric", name, as_json)


def passes(
    name: Annotated[str | None, typer.Argument(help="Show one alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the changes made to a model before conversion; or the settings of one."""
    show("pass", name, as_json)


def known(kind: str) -> dict[str, str]:
    """What there is of a kind: names, and the first sentence of each."""
    files = sorted((HOME / FOLDERS[kind]).glob("[!_]*.py"))
    return {
        file.stem: _first(ast.get_docstring(ast.parse(file.read_text("utf-8")))) for file in files
    }


def about(kind: str, name: str) -> Facts:
    """All that is to be said of one thing.

    Raises:
        MarsmithError: there is no such thing.
    """
    if name not in (there := known(kind)):
        raise MarsmithError(no_such(kind, name, list(there)), f"`marsmith {plural(kind)}`")
    of = {"task": _task, "runtime": _runtime, "metric": _metric, "pass": _pass}[kind]
    return {"kind": kind, "name": name, **of(name)}


def show(kind: str, name: str | None, as_json: bool) -> None:
    """Print what there is of a kind, or one thing."""
    if name is not None:
        found = about(kind, name)
        if as_json:
            print_json(found)
        else:
            _print(found)
    elif as_json:
        print_json(known(kind))
    else:
        table = Table(kind, "what it is", box=SIMPLE, pad_edge=False)
        for each, said in known(kind).items():
            table.add_row(each, escape(said))
        out.print(table)
        out.print(f"one with its settings: marsmith {plural(kind)} NAME", markup=False)


def plural(kind: str) -> str:
    """The command that lists a kind."""
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


def _task(name: str) -> Facts:
    from handlers import tasks
    from handlers.schema import json_schema
    from marsmith.recipe.sections import DECIDED

    handler = tasks.find(name)
    settings = json_schema(handler.Config)
    properties = cast("Mapping[str, object]", settings["properties"])
    own = {key: each for key, each in properties.items() if key not in DECIDED}
    return {
        "doc": _whole(inspect.getmodule(handler)),
        "settings": {**settings, "properties": own},
        "options": json_schema(handler.Options),
        "answer": handler.Answer.schema()
        if hasattr(handler.Answer, "schema")
        else json_schema(handler.Answer),
    }


def _runtime(name: str) -> Facts:
    from handlers import by_name
    from handlers import runtimes as package
    from marsmith import converters

    module, converter = by_name.find(package.__name__, name, "'runtime'"), converters.find(name)
    options = [*inspect.signature(module.load).parameters.values()][2:]  # after path and device
    return {
        "doc": _whole(module),
        "precisions": list(converter.PRECISIONS),
        "tried by runtime: auto": list(converter.DEFAULTS),
        "tried on a GPU": list(getattr(converter, "GPU_DEFAULTS", ())),
        "packages": list(getattr(converter, "PACKAGES", ())),
        "options": {
            "properties": {
                each.name: {"type": str(each.annotation), **_default(each.default)}
                for each in options
            }
        },
        "load": inspect.getdoc(module.load),
    }


def _default(value: object) -> Facts:
    return {} if value is inspect.Parameter.empty else {"default": value}


def _metric(name: str) -> Facts:
    from marsmith.verify import metrics

    measure = metrics.find(name)
    return {"doc": _whole(inspect.getmodule(measure)), "measure": inspect.getdoc(measure)}


def _pass(name: str) -> Facts:
    from handlers import by_name
    from marsmith.recipe.reading import PASSES
    from marsmith.recipe.sections import Pass

    module = by_name.find(PASSES, name, "'passes'")
    return {"doc": _whole(module), "settings": by_name.only(module, Pass).model_json_schema()}


def _print(found: Mapping[str, Any]) -> None:
    out.print(f"[bold]{found['name']}[/], a {found['kind']}: {escape(found['doc'])}")
    for part, said in list(found.items())[3:]:
        if isinstance(said, Mapping) and (rows := list(_rows(said))):
            out.print(f"\n[bold]{part}[/]")
            table = Table("name", "type", "default", "what it is", box=SIMPLE, pad_edge=False)
            for row in rows:
                table.add_row(*map(escape, row))
            out.print(table)
        elif isinstance(said, list) and said:
            out.print(f"{part}: {', '.join(map(str, said))}", markup=False)
        elif isinstance(said, str):
            out.print(f"\n{said}", markup=False)


def _rows(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """The properties of a JSON Schema: name, type, default, description."""
    needed = schema.get("required", ())
    for name, of in schema.get("properties", {}).items():
        default = json.dumps(of["default"], default=str) if "default" in of else ""
        yield (
            name,
            type_of(of),
            "must be said" if name in needed else default,
            " ".join(of.get("description", "").split()),
        )


def type_of(schema: Mapping[str, Any]) -> str:
    """What a JSON Schema allows, in a few words: "integer ≥ 1 or null"."""
    several = schema.get("anyOf") or schema.get("oneOf")
    if several:
        said = " or ".join(dict.fromkeys(map(type_of, several)))
    elif "enum" in schema:
        said = " | ".join(map(str, schema["enum"]))
    elif "const" in schema:
        said = str(schema["const"])
    else:
        said = str(schema.get("type", "anything"))
        if said == "array" and (items := schema.get("items")):
            said = f"list of {type_of(items)}"
    bounds = {
        "minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<",
        "maxItems": "up to",
    }  # fmt: skip
    return " ".join(
        [said, *(f"{sign} {schema[key]}" for key, sign in bounds.items() if key in schema)]
    )


def _first(doc: str | None) -> str:
    return (doc or "").partition("\n\n")[0].replace("\n", " ")


def _whole(module: object) -> str:
    return inspect.getdoc(module) or ""
