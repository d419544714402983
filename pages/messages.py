"""What marsmith says when something is wrong, and what to do: read off the places that say it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pages.blocks import ROOT

KINDS = {
    "RecipeError": "What a recipe says",
    "BuildError": "Building",
    "UnsupportedError": "Forms that a model can't take here",
    "GateError": "Bounds that a build must keep",
    "ArchiveError": "Archives",
    "ServerError": "Servers",
    "MarsmithError": "Commands",
    "LoadError": "Loading an archive: a worker's log, and `marsmith run`",
    "BadRequest": "Requests: a client's answer",
    "ModelError": "Outputs of a model: a client's answer, with status 500",
}
HOLE = "…"
INTRODUCTION = """
## Every message that says what to do

Read off the code: the places that raise an error with a hint. `…` stands for names and numbers.
Messages without a hint say all that there is in themselves, such as the key of a recipe that isn't
known, with the nearest one.
"""


@dataclass(frozen=True, order=True)
class Message:
    """One error, as it is written in the code.

    Attributes:
        kind: the class of the error.
        text: what was wrong; `…` for what is filled in.
        hint: what to do.
    """

    kind: str
    text: str
    hint: str


def messages() -> list[Message]:
    """All of them that have a hint, in alphabetical order of what they say."""
    found = set()
    for package in ("marsmith", "handlers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            found |= set(_of(path))
    return sorted(found, key=lambda each: (each.kind, each.text.strip(f"'{HOLE} ").lower()))


def section() -> str:
    """The part of the page on trouble that has them all, in Markdown."""
    parts, every = [INTRODUCTION], messages()
    for kind, title in KINDS.items():
        rows = [f"| {_cell(m.text)} | {_cell(m.hint)} |" for m in every if m.kind == kind]
        if rows:
            parts.append(f"### {title}\n\n| it says | do this |\n|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _of(path: Path) -> Iterator[Message]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, (ast.Name, ast.Attribute)):
            continue
        kind = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        if kind not in KINDS or not node.args:
            continue
        hints = [word.value for word in node.keywords if word.arg == "hint"] or node.args[1:2]
        text, hint = _said(node.args[0]), _said(hints[0]) if hints else ""
        if text.strip(f"{HOLE} ") and hint.strip(f"{HOLE} "):
            yield Message(kind, text, hint)


def _said(node: ast.expr) -> str:
    return re.sub(f"{HOLE}+", HOLE, _words(node))


def _words(node: ast.expr) -> str:
    """An expression of strings as people would read it."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else HOLE
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_words, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _words(node.left) + _words(node.right)
    return HOLE


def _cell(text: str) -> str:
    escaped = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return escaped.replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")
