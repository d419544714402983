"""`marsmith report` and `marsmith diff`: a build's page, and two archives side by side."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from marsmith.cli import completion, terminal
from marsmith.cli.arguments import STORE, Store
from marsmith.cli.json_output import AsJson, print_json
from marsmith.cli.terminal import err, out
from marsmith.errors import MarsmithError, no_such

SUFFIX = ".report.json"


def report(
    name: Annotated[
        str,
        typer.Argument(
            help="A model in the store, or a .report.json.", autocompletion=completion.stored
        ),
    ],
    model_store: Store = STORE,
    browser: Annotated[bool, typer.Option(help="Open it; without: print its path.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report itself.")] = False,
) -> None:
    """Open the page of a build's report, made anew by this version of marsmith."""
    from marsmith.atomic import replacing
    from marsmith.report.page import render
    from marsmith.report.report import Report

    path = find(name, model_store)
    read = Report.read(path)
    if as_json:
        print_json(read.model_dump())
        return
    page = path.with_suffix(".html")
    with replacing(page) as unfinished:
        unfinished.write_text(render(read), "utf-8")
    terminal.show_doubts(read)
    out.print(str(page.absolute()), markup=False)
    if browser and not webbrowser.open(page.absolute().as_uri()):
        err.print("there is no browser to open it with")


def find(name: str, store: Path) -> Path:
    """The report of a model in the store, or one by its path.

    Raises:
        MarsmithError: there is none.
    """
    for path in (
        Path(name),
        store / f"{name}{SUFFIX}",
        Path(f"{name.removesuffix('.mar')}{SUFFIX}"),
    ):
        if path.name.endswith(".json") and path.is_file():
            return path
    there = sorted(file.name.removesuffix(SUFFIX) for file in store.glob(f"*{SUFFIX}"))
    raise MarsmithError(
        no_such("report", name, there, f"in {store}"), "`marsmith build` writes one"
    )


def diff(
    before: Annotated[Path, typer.Argument(help="A .mar file.")],
    after: Annotated[Path, typer.Argument(help="The one that it is compared with.")],
    as_json: AsJson = False,
) -> None:
    """Compare two archives: what they are made of, how good they are, and how fast they were."""
    from marsmith.cli.diff import compare, told

    found = compare(before, after)
    if as_json:
        print_json({name: {"before": a, "after": b} for name, (a, b) in found.items()})
        return
    table = Table("", str(before), str(after), box=SIMPLE, pad_edge=False)
    for name, pair in found.items():
        mark = "" if pair[0] == pair[1] else "[bold]"
        table.add_row(f"{mark}{name}", *(f"{mark}{escape(told(each))}" for each in pair))
    out.print(table)
    same = sum(a == b for a, b in found.values())
    out.print(f"{same} of {len(found)} are the same; what differs is bold")
