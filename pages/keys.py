"""Every key that a recipe may have, read off the sections that check it."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from handlers import by_name
from marsmith.recipe import sections
from marsmith.recipe.reading import PASSES, SOURCES
from marsmith.recipe.sections import Pass, Recipe, Section, Source

HEAD = "| key | is | by default | |\n|---|---|---|---|\n"
INNER: Mapping[str, type[Section]] = {
    "serving": sections.Serving,
    "evaluation": sections.Evaluation,
    "accept": sections.Accept,
    "calibration": sections.Calibration,
    "conversion": sections.Conversion,
    "training": sections.Training,
}
INTRODUCTION = """# Every key of a recipe

A recipe is a YAML file, or the same as a dictionary for `marsmith.build`. This page is made of
the classes that check it, `marsmith/recipe/sections.py` and those of sources and passes: what
isn't here is refused, with the nearest allowed name. Paths are relative to the recipe, or
`package:path` inside an installed package. `module:function` is a function that can be imported
from beside the recipe.

What `handler:` may have depends on the task: each has [a page](tasks/index.md).
"""


def page() -> str:
    """The whole page, in Markdown."""
    parts = [INTRODUCTION, "## The recipe\n", table(Recipe)]
    for name, section in INNER.items():
        parts += [f"## `{name}`\n", sentence(section), table(section)]
    parts.append("## `source`\n\nOne of these; the first key that is named decides which.\n")
    for name, kind in _found(SOURCES, Source):
        parts += [f"### `source: {{{name}: ...}}`\n", sentence(kind), table(kind)]
    parts.append("## `passes`\n\nA list; each item is a name, or `name: {key: value}`.\n")
    for name, kind in _found(PASSES, Pass):
        parts += [f"### `{name}`\n", sentence(kind), table(kind)]
    return "\n".join(parts)


def table(section: type[Section]) -> str:
    """The keys of one section."""
    said = comments(section)
    said |= {name: sentence(kind) for name, kind in INNER.items() if name not in said}
    rows = [
        f"| `{name}` | {_kind(field)} | {_default(field)} | {_cell(said.get(name, ''))} |\n"
        for name, field in section.model_fields.items()
    ]
    return HEAD + "".join(rows)


def comments(section: type) -> dict[str, str]:
    """What is written below each field of a class and of those that it is made from."""
    found: dict[str, str] = {}
    for kind in reversed(section.__mro__):
        if not (issubclass(kind, Section) and kind is not Section):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(tree, ast.ClassDef)  # noqa: S101 - for mypy
        for one, after in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                found.pop(one.target.id, None)
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    found[one.target.id] = inspect.cleandoc(str(after.value.value))
    return found


def sentence(kind: type) -> str:
    """What the docstring of a class says, without its lists."""
    text = inspect.getdoc(kind) or ""
    return re.sub(r"; a subclass in each file of .*?\.", ".", text.partition("\n\n")[0]) + "\n"


def _found(package: str, base: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    for name in by_name.known(package):
        module = by_name.find(package, name, "it")
        if not hasattr(module, "__path__"):  # a folder, of what the files share
            yield name, by_name.only(module, base)


def _kind(field: FieldInfo) -> str:
    kind = field.annotation
    name = kind.__name__ if isinstance(kind, type) and "[" not in str(kind) else str(kind)
    if isinstance(kind, type) and issubclass(kind, Section) and kind not in (Source, Pass):
        return f"[a section](#{kind.__name__.lower()})"
    name = name.replace("typing.", "").replace("marsmith.recipe.sections.", "")
    name = name.replace("pathlib._local.", "").replace("pathlib.", "").replace(" | None", "")
    if choices := re.fullmatch(r"(?:Optional\[)?Literal\[(.*?)\]+", name):
        return _cell(" or ".join(f"`{each}`" for each in choices[1].replace("'", "").split(", ")))
    words = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
    words |= {"Path": "a path", "Source": "[a section](#source)", "dict[str, object]": "a mapping"}
    words |= {"tuple[str, ...]": "a list of texts", "tuple[Path, ...]": "a list of paths"}
    words |= {"tuple[Pass, ...]": "[a list](#passes)"}
    return words.get(name, _section(name) or f"`{_cell(name)}`") + _bounds(field)


def _section(name: str) -> str:
    return f"[a section](#{name.lower()})" if name.lower() in INNER else ""


def _bounds(field: FieldInfo) -> str:
    words = {
        "ge": "at least",
        "gt": "above",
        "lt": "below",
        "le": "at most",
        "max_length": "of at most",
    }
    found = [
        f"{word} {getattr(each, key)}"
        for each in field.metadata
        for key, word in words.items()
        if getattr(each, key, None) is not None
    ]
    return f", {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "to be given"
    if field.default in (None, (), {}, "") or isinstance(field.default, Section):
        return ""
    value = str(field.default)
    return f"`{value.lower() if isinstance(field.default, bool) else value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
