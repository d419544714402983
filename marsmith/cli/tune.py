"""`marsmith tune`: the best way to serve an archive on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from marsmith.cli.json_output import AsJson, document
from marsmith.cli.terminal import err, out, progress
from marsmith.errors import MarsmithError

PIPED = 120
"""Characters of a line where nobody's window has a width."""

if TYPE_CHECKING:
    from marsmith.recipe.sections import Serving
    from marsmith.tune.tune import Tuned


def tune(
    recipe: Annotated[Path, typer.Argument(help="A YAML file with evaluation data.")],
    p99_ms: Annotated[
        float | None, typer.Option(min=0.1, help="99 of 100 answers must come within.")
    ] = None,
    connections: Annotated[int, typer.Option(min=1, help="Clients that ask one by one.")] = 16,
    minutes: Annotated[float, typer.Option(min=0.1, help="No round begins later.")] = 10.0,
    write: Annotated[bool, typer.Option(help="Write what was found into the recipe.")] = True,
    model_store: Annotated[
        Path, typer.Option("--model-store", help="Where its archive is.")
    ] = Path("model_store"),
    as_json: AsJson = False,
) -> None:
    """Find how many workers, which batch and which delay serve a model best on this machine."""
    from marsmith.recipe.reading import load
    from marsmith.tune.tune import tune as search

    read = load(recipe)
    archive = model_store / f"{read.name}.mar"
    if not archive.exists():
        raise MarsmithError(f"there is no {archive}", f"build it first: marsmith build {recipe}")
    with progress() as say:
        tuned = search(
            read, archive, p99_ms=p99_ms, connections=connections, minutes=minutes, say=say
        )
    if as_json:
        with document() as found:
            best = tuned.best and tuned.best.serving()
            found |= {**dataclasses.asdict(tuned), "best": best}
            _take(tuned, recipe, read.serving, write)
    else:
        show(tuned)
        _take(tuned, recipe, read.serving, write)


def _take(tuned: Tuned, recipe: Path, serving: Serving, write: bool) -> None:
    """Write what was chosen into the recipe; refuse that nothing was."""
    from marsmith.tune.writing import write as write_into

    if tuned.best is None:
        raise MarsmithError(
            f"nothing was chosen: {tuned.found.why}",
            "allow more milliseconds or --minutes, on a machine that has nothing else to do",
        )
    if write and tuned.best.name != tuned.own:
        instead = {"worker_per_core": False} if serving.worker_per_core else {}
        write_into(recipe, {**tuned.best.serving(), **instead})
        err.print(f"wrote {recipe}; build it again: marsmith build {recipe}", markup=False)


def show(tuned: Tuned) -> None:
    """Print what was tried and what was chosen, for people."""
    held = tuned.found.held
    table = Table(box=None, padding=(0, 2, 0, 0), width=None if out.is_terminal else PIPED)
    for column in ("workers", "threads", "batch", "delay ms", "answers/s", "p99 ms"):
        table.add_column(column, justify="right")
    if held:
        table.add_column("holds/s", justify="right")
    table.add_column("", ratio=1)
    order = sorted(
        tuned.found.tried.items(),
        key=lambda each: (not each[1].out, each[1].per_s if each[1].figures else 0.0),
        reverse=True,
    )
    for name, tried in order:
        way = tuned.settings[name]
        marks = ["best"] if name == tuned.found.best else []
        marks += ["the recipe's own"] if name == tuned.own else []
        row = [str(each) for each in (way.workers, way.threads, way.batch_size, way.delay_ms)]
        row += [f"{tried.per_s:.1f}", f"{tried.p99_ms:.1f}"] if tried.figures else ["", ""]
        row += [str(held.get(name, ""))] if held else []
        table.add_row(*row, "; ".join([*marks, *([tried.out] if tried.out else [])]))
    out.print(table)
    sure = "sure" if tuned.found.sure else "not sure: measure again on a quiet machine, or longer"
    out.print(f"{tuned.found.why} ({sure}), in {tuned.seconds:.0f} s", markup=False)
