"""`marsmith doctor`: what is wrong here, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Column, Table

from marsmith.cli.json_output import AsJson, print_json
from marsmith.cli.terminal import out, progress

if TYPE_CHECKING:
    from marsmith.doctor.findings import Finding

COLOURS = {"good": "green", "note": "yellow", "bad": "bold red"}


def doctor(
    config: Annotated[
        Path | None, typer.Option(help="A config.properties of yours, for plain TorchServe.")
    ] = None,
    model_store: Annotated[
        Path, typer.Option("--model-store", help="Where archives are kept.")
    ] = Path("model_store"),
    as_json: AsJson = False,
) -> None:
    """Look at this machine, TorchServe's known holes, servers that run; status 1 if it matters."""
    from marsmith.doctor.checks import check

    with progress() as say:
        found = list(check(model_store, config, say))
    bad = sum(each.level == "bad" for each in found)
    if as_json:
        print_json({"ok": not bad, "findings": [each.model_dump() for each in found]})
    else:
        show(found)
        notes = sum(each.level == "note" for each in found)
        out.print(f"{bad} to mend, {notes} to know, {len(found) - bad - notes} as they should be")
    if bad:
        raise typer.Exit(1)


def show(found: Sequence[Finding]) -> None:
    """Print findings for people: what is to be done as a table, the rest as a line each."""
    for part, findings in groupby(found, key=lambda each: each.part):
        out.print(f"[bold]{escape(part)}[/]")
        several = list(findings)
        if todo := [each for each in several if each.level != "good"]:
            out.print(_table(sorted(todo, key=lambda each: each.level)))
        for each in several:
            if each.level == "good":
                out.print(f" [{COLOURS['good']}]good[/]   {escape(each.brief or each.what)}")
        out.print()


def _table(findings: Sequence[Finding]) -> Table:
    what = Column("what", ratio=3, overflow="fold")
    table = Table("", what, Column("what to do", ratio=2, overflow="fold"), box=SIMPLE)
    for each in findings:
        ids = f"{', '.join(each.ids)}: " if each.ids else ""
        level = f"[{COLOURS[each.level]}]{each.level}[/]"
        table.add_row(level, escape(ids + each.what), escape(each.hint))
    return table
