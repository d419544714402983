"""A page for each task: its settings, its options, and what its example is answered with."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from typing import Any, get_type_hints

from handlers import tasks
from handlers.base import Handler
from handlers.schema import json_schema
from handlers.task import Config
from marsmith.cli import new
from pages import examples
from pages.blocks import ROOT

SETTINGS = "| setting | is | by default | |\n|---|---|---|---|\n"
COMMON = {field.name for field in dataclasses.fields(Config)}


def names() -> list[str]:
    """The tasks."""
    return tasks.known()


def index() -> str:
    """The page that lists all tasks."""
    lines = [
        "# Tasks\n",
        "A task is what stands between a request and a tensor, and between a tensor and an answer.",
        "`task:` in a recipe names one of these, or [one of your own](../own-task.md). These pages",
        "are made of the code that validates requests. The answers are those that a worker of",
        "TorchServe's gave, with the tiny random model that `marsmith new` writes: their form is",
        "right, and what they say is not.\n",
        "| task | what it does |\n|---|---|",
    ]
    lines += [f"| [`{name}`]({name}.md) | {_first(tasks.find(name))} |" for name in tasks.known()]
    return "\n".join([*lines, "", _common()])


def page(name: str) -> str:
    """The page of a task, in Markdown."""
    kind, kept = tasks.find(name), examples.read(name)
    parts = [f"# `{name}`\n", f"{_first(kind)}\n", _start(name), _request(name, kept)]
    parts += ["## Options of a request\n", _options(kind)]
    parts += ["## Settings\n", "In `handler:` of the recipe, beside [those of every task]"]
    parts[-1] += "(index.md#settings-of-every-task).\n"
    own = [field for field in dataclasses.fields(kind.Config) if field.name not in COMMON]
    parts.append(_table(kind.Config, {field.name for field in own}))
    return "\n".join(parts)


def _first(kind: type[Handler[Any, Any, Any]]) -> str:
    module = inspect.getmodule(kind)
    text = inspect.getdoc(module) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _start(name: str) -> str:
    if name not in new.tasks():
        return ""
    recipes = [
        f"[`{path.stem}`](../recipes/{path.stem}.md)"
        for path in sorted((ROOT / "archiver_configs").glob("*.yaml"))
        if f"\ntask: {name}\n" in path.read_text("utf-8")
    ]
    shipped = f"Recipes that ship: {', '.join(recipes)}." if recipes else ""
    return (
        f"```bash\nmarsmith new my_model --task {name}    # a recipe and a model to put yours in\n"
        f"```\n\n{shipped}\n"
    )


def _request(name: str, kept: Mapping[str, Any]) -> str:
    takes = "\n".join(
        f"| `{key}` | {_plain(value)} |" for key, value in kept["input"].items() if value != ""
    )
    body, kind = kept["body"], kept["content_type"]
    sent = f"{kept['bytes']:,} bytes of `{kind}`."
    if body is not None:
        language = "json" if "json" in kind else "text"
        sent = f"`{kind}`:\n\n```{language}\n{_pretty(body, language)}\n```"
    others = [each for each in kept["media_types"] if each != "application/json"]
    also = f" Also, for who accepts it: {', '.join(f'`{each}`' for each in others)}." * bool(others)
    explains = "It gives explanations.\n" if kept["explains"] else "It gives no explanations.\n"
    answer = json.dumps(kept["answer"], indent=2, ensure_ascii=False)
    return (
        f"## What it takes\n\n| | |\n|---|---|\n{takes}\n\n"
        f"## Its example\n\n{sent}\n\nIt is sent to `POST /predictions/my_model`, and answered with"
        f"{(also and ' JSON.' + also) or ''}\n\n```json\n{answer}\n```\n\n{explains}"
    )


def _pretty(body: str, language: str) -> str:
    if language != "json":
        return body
    return json.dumps(examples.shortened(json.loads(body)), indent=2, ensure_ascii=False)


def _options(kind: type[Handler[Any, Any, Any]]) -> str:
    if not dataclasses.fields(kind.Options):
        return "None.\n"
    return _table(kind.Options, {field.name for field in dataclasses.fields(kind.Options)})


def _common() -> str:
    return f"## Settings of every task\n\n{_table(Config, COMMON - {'task', 'runtime'})}"


def _table(kind: type, names: set[str]) -> str:
    hints = get_type_hints(kind)
    described: Any = json_schema(kind)["properties"]
    rows = [
        f"| `{name}` | {_kind(hints[name], said)} | {_default(said)} "
        f"| {_cell(said['description'])} |"
        for name, said in described.items()
        if name in names
    ]
    return SETTINGS + "\n".join(rows) + "\n" if rows else "None of its own.\n"


def _kind(hint: object, said: Mapping[str, Any]) -> str:
    choices = said.get("enum") or [
        each for one in said.get("anyOf", ()) for each in one.get("enum", ())
    ]
    words = {"boolean": "true or false", "integer": "a whole number", "number": "a number"}
    words |= {"string": "text", "array": "a list", "object": "a mapping"}
    kinds = [said.get("type"), *(one.get("type") for one in said.get("anyOf", ()))]
    named = [words[each] for each in kinds if each in words]
    is_ = " or ".join(f"`{each}`" for each in choices) or " or ".join(dict.fromkeys(named))
    bounds = {"minimum": "at least", "maximum": "at most", "maxItems": "of at most"}
    found = [f"{word} {said[key]:,}" for key, word in bounds.items() if key in said]
    return ", ".join([is_ or _cell(str(hint)), *found])


def _default(said: Mapping[str, Any]) -> str:
    value = said.get("default")
    return "" if value in (None, "", [], {}) else f"`{_cell(json.dumps(value))}`"


def _plain(value: object) -> str:
    return _cell(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
