"""How code blocks are marked, and that a test runs each that says so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pages import blocks
from pages.blocks import Block
from tests.support.paths import ROOT

ASKING = {"blocks.named", "blocks.one"}
READER = "from pages import blocks"


def asked_for() -> set[str]:
    """The names of blocks that tests ask for: `blocks.named("...")`, `blocks.one("...")`."""
    found = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path == Path(__file__) or READER not in (text := path.read_text("utf-8")):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ASKING:
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: say the name itself"
                found.add(str(name.value))
    return found


def every_block() -> list[Block]:
    return [block for page in blocks.sources() for block in blocks.blocks(page)]


def test_each_block_is_run_or_says_why_not() -> None:
    silent = [f"{b.page.name}:{b.line}" for b in every_block() if not (b.run or b.reason)]
    assert silent == [], "put <!-- run: NAME --> or <!-- not run: REASON --> before them"


def test_what_is_said_to_be_run_is_run() -> None:
    assert {block.run for block in every_block()} - {""} == asked_for()


def test_no_fence_is_missed() -> None:
    for page in blocks.sources():
        fences = [line for line in page.read_text("utf-8").splitlines() if "```" in line]
        diagrams = sum(line.strip() == "```text" for line in fences)
        assert len(fences) == 2 * (len(blocks.blocks(page)) + diagrams), page.name


def test_a_block_has_its_mark_its_place_and_its_own_indent(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "a\n\n- b\n  <!-- run: c -->\n  ```bash\n  d\n    e\n  ```\n\n```yaml\nf: 1\n```\n"
    )
    marked, bare = blocks.blocks(page)
    assert (marked.run, marked.line, marked.language) == ("c", 5, "bash")
    assert marked.text == "d\n  e\n"
    assert (bare.run, bare.reason, bare.text) == ("", "", "f: 1\n")


def test_a_test_that_would_run_nothing_fails() -> None:
    with pytest.raises(LookupError):
        blocks.named("none of this name")
    with pytest.raises(LookupError):
        blocks.one("recipe")
