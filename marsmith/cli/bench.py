"""`marsmith bench`: a load on a server, and what came of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from marsmith.cli.json_output import AsJson, print_json
from marsmith.cli.terminal import err, out, progress
from marsmith.errors import MarsmithError

if TYPE_CHECKING:
    from marsmith.bench.measure import Measured
    from marsmith.bench.target import Endpoint


def bench(
    target: Annotated[
        str, typer.Argument(help="A model of a running server of marsmith's, or any address.")
    ],
    recipe: Annotated[
        Path | None, typer.Option(help="Send the held-out data of this recipe.")
    ] = None,
    body: Annotated[list[Path] | None, typer.Option(help="Send this file; repeatable.")] = None,
    header: Annotated[
        list[str] | None, typer.Option(help='For an address: "Name: value"; repeatable.')
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="The task's, as name=value.")] = None,
    stream: Annotated[bool, typer.Option(help="Ask for answers piece by piece.")] = False,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Requests per second, however answers come.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Recorded arrivals: a time in seconds per line.")
    ] = None,
    connections: Annotated[
        int, typer.Option(min=1, help="Clients that wait for each answer; without a rate.")
    ] = 16,
    seconds: Annotated[float, typer.Option(min=0.5, help="Of each run.")] = 10.0,
    repeats: Annotated[int, typer.Option(min=1, help="How many runs.")] = 3,
    slo_ms: Annotated[
        float | None, typer.Option(min=0.01, help="Count the answers within this time.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same arrivals for the same seed.")] = 0,
    page: Annotated[
        Path | None, typer.Option("--out", help="Write a page with plots, HTML.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="The server's inference port.")] = None,
    as_json: AsJson = False,
) -> None:
    """Put a load on a server as it really comes: latencies, throughput, tokens, CPU, memory."""
    from marsmith.bench import arrivals
    from marsmith.bench.measure import Traffic, measure

    if rate is not None and trace is not None:
        raise MarsmithError("--rate and --trace are two ways to say when requests come", "say one")
    asked = _target(target, recipe, body or [], header or [], option or [], port, stream=stream)
    recorded = arrivals.recorded(trace) if trace else None
    load = Traffic(rate, recorded, connections, seconds, slo_ms)
    with progress() as say:
        measured, runs = measure(asked, load, repeats, seed, say)
    if page is not None:
        from marsmith.bench.page import render

        page.write_text(render(measured, runs), "utf-8")
        err.print(f"wrote {page}", markup=False)
    if as_json:
        print_json(dataclasses.asdict(measured))
    else:
        show(measured)


def _target(
    named: str,
    recipe: Path | None,
    files: list[Path],
    headers: list[str],
    options: list[str],
    port: int | None,
    *,
    stream: bool,
) -> Endpoint:
    from marsmith.bench import target
    from marsmith.cli.inputs import read_option
    from marsmith.client.bodies import media_type, read_file
    from marsmith.serving import server

    bodies = [target.Body(read_file(path), media_type(path) or target.RAW) for path in files]
    what = "the files given"
    if recipe is not None:
        from marsmith.recipe.reading import load  # imports torch

        read = load(recipe)
        bodies += target.held_out(read)
        what = f"the held-out data of {read.name}"
    if "://" in named:
        if options or stream or port is not None:
            raise MarsmithError(
                "--option, --stream and --port are for a model of a server of marsmith's",
                "an address says it all: put them into the address, or into the bodies",
            )
        return target.of_url(named, bodies, headers)
    if headers:
        raise MarsmithError("--header is for an address", "a model is asked by its own user's key")
    info = server.running(port)
    if not bodies:
        with server.client(info) as client:
            described = client.describe(named)["customizedMetadata"]
        bodies, what = [target.example(described)], "the model's own example, over and over"
    chosen = dict(read_option(each) for each in options)
    return target.of_model(info, named, bodies, what, chosen, stream=stream)


def show(measured: Measured) -> None:
    """Print what was measured, for people."""
    from marsmith.bench.figures import spread
    from marsmith.bench.page import lines
    from marsmith.bench.rows import rows

    out.print(f"{measured.url}\n{measured.bodies}\n{measured.load}", markup=False)
    table = Table("", "median", "least", "most", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, figure in rows(measured):
        if (found := spread(measured.runs, figure)) is not None:
            table.add_row(name, *lines(found))
    out.print(table)
    for cost in measured.costs:
        out.print(
            f"{cost.name} ({cost.pid}): {cost.cores:.2f} cores, {cost.memory_mb:,.0f} MB",
            markup=False,
        )
    for run in measured.runs:
        for name, times in run.errors.items():
            err.print(f"[yellow]failed:[/] {times} × {name}")
    if measured.busy > 1:
        err.print(f"[yellow]busy:[/] the load average before was {measured.busy:.1f}")
    if any(run.overloaded for run in measured.runs):
        err.print("[yellow]overloaded:[/] requests came faster than they were answered")
