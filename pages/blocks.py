"""Code blocks of the pages, and how each is marked: what a test runs, and what none does.

The line before a block is `<!-- run: NAME -->`, where a test asks for the blocks of that name, or
`<!-- not run: REASON -->`. Diagrams, which are drawn in characters, need no mark.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"(?:^[ ]*<!-- (?P<mark>.*?) -->\n+)?"
    r"^(?P<indent>[ ]*)(?P<fence>`{3,})(?P<language>\w*)[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
DIAGRAM = "text"


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    Attributes:
        page: the file.
        line: its first line, counted from 1.
        language: what its fence says; empty where it says nothing.
        text: what is in it, without its indent.
        run: the name by which a test asks for it; empty where none does.
        reason: why no test runs it.
    """

    page: Path
    line: int
    language: str
    text: str
    run: str
    reason: str


def sources() -> list[Path]:
    """All pages that people have written."""
    roots = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [path for path in roots if path.is_file()] + sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, diagrams apart, in their order."""
    return [block for block in _all(page, page.read_text("utf-8")) if block.language != DIAGRAM]


def named(name: str) -> list[Block]:
    """The blocks that a test runs by this name, of all pages in their order.

    Raises:
        LookupError: there is none: a test would run nothing.
    """
    found = [block for page in sources() for block in blocks(page) if block.run == name]
    if not found:
        raise LookupError(f"no page has a block that is marked <!-- run: {name} -->")
    return found


def one(name: str) -> str:
    """The text of the only block of a name.

    Raises:
        LookupError: there is none, or another.
    """
    first, *others = named(name)
    if others:
        raise LookupError(f"{name} is {first.page.name}:{first.line}, and {len(others)} others")
    return first.text


def _all(page: Path, text: str) -> list[Block]:
    found = []
    for match in BLOCK.finditer(text):
        mark = match["mark"] or ""
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["text"].splitlines(keepends=True)]
        found.append(
            Block(
                page=page,
                line=text.count("\n", 0, match.start("indent")) + 1,
                language=match["language"],
                text="".join(lines),
                run=_after(mark, "run: "),
                reason=_after(mark, "not run: "),
            )
        )
    return found


def _after(mark: str, word: str) -> str:
    return mark.removeprefix(word).strip() if mark.startswith(word) else ""
