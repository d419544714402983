"""What the `marsmith` command prints for people: progress and tables."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from marsmith.report.doubts import doubtful, doubts, held_out
from marsmith.report.words import counted, metric_name

if TYPE_CHECKING:  # importing them takes a second, and a command needs but a few
    from marsmith.archive.reading import Named
    from marsmith.errors import MarsmithError
    from marsmith.report.candidates import CandidateResult, Status
    from marsmith.report.measurements import Timing
    from marsmith.report.report import ConversionReport, Report
    from marsmith.serving.front.keys import Key
    from marsmith.serving.rollout import Step
    from marsmith.serving.torchserve.status import ServerStatus

Say = Callable[[str], None]

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

CACHE = ".cache"  # in a model store

COLOURS: dict[Status, str] = {
    "shipped": "bold green",
    "admissible": "green",
    "refused": "yellow",
    "failed": "red",
    "skipped": "dim",
}


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Print what is being done: a live line on a terminal, plain lines in a pipe."""
    if not err.is_terminal:
        yield lambda line: err.print(line, markup=False)
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # On a descriptor of its own: what engines write to stderr meanwhile goes to their logs.
    own = Console(file=os.fdopen(os.dup(2), "w"), force_terminal=True, highlight=False)
    live = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=own, transient=True,
    )  # fmt: skip
    with own.file, live:
        step = live.add_task("")
        last: list[tuple[str, float]] = []

        def done() -> None:
            if last:
                line, began = last.pop()
                live.print(f"[green]✓[/] {escape(line)} [dim]{time.monotonic() - began:.0f} s[/]")

        def say(line: str) -> None:
            done()
            last.append((line, time.monotonic()))
            live.reset(step, description=escape(line))

        yield say
        done()


def show_stopped(store: Path) -> None:
    """Print what a build that was stopped has left, and how to go on."""
    kept = store / CACHE
    err.print("[bold]stopped:[/] nothing unfinished is left")
    if kept.is_dir():
        err.print(f"kept: what was trained, converted and measured so far, in {kept}", markup=False)
    err.print(f"the same command again {'goes on from there' if kept.is_dir() else 'begins anew'}")


def show_error(error: MarsmithError) -> None:
    """Show what is wrong, and what to do."""
    err.print(f"[bold red]error:[/] {escape(error.message)}")
    if error.hint:
        err.print(f"[bold]hint:[/] {escape(error.hint)}")


def show_archive(found: Mapping[str, Any]) -> None:
    """Print what an archive says of itself, whatever it says."""

    def part(of: object, key: str) -> Mapping[str, Any]:
        inner = of.get(key) if isinstance(of, dict) else None
        return inner if isinstance(inner, dict) else {}

    def show(line: object) -> None:
        out.print(printable(str(line)), markup=False)

    facts = found["facts"] or {}
    show(f"{found['archive']}  {found['bytes']:,} bytes  sha256 {found['sha256']}")
    if not found["listed"]:
        show("packed by hand: it lists no SHA-256 of its files")
    for key in ("task", "runtime", "precision"):
        show(f"{key}: {part(found['config'], 'handler').get(key, 'unknown')}")
    if isinstance(needed := facts.get("instructions"), list) and needed:
        show(f"made for a CPU with: {', '.join(map(str, needed))}")
    for form, value in part(facts, "measured").items():
        show(f"{facts.get('metric') or 'metric'}, {form}: {value}")
    out.print("input:", json.dumps(facts.get("input", "unknown"), indent=2), markup=False)
    for name, file in found["files"].items():
        show(f"{file['sha256'][:16]}  {file['bytes']:>12,}  {name}")


def printable(text: str) -> str:
    """A line that moves no cursor and hides nothing: what isn't printable is escaped."""
    return text if text.isprintable() else ascii(text)[1:-1]


def show_report(report: Report, store: Path) -> None:
    """Print a build's candidates, its ladder, and what was written."""
    out.print(candidates_table(report))
    for line in verdicts(report):
        out.print(line, markup=False)
    metric = metric_name(report.metric)
    ladder = Table("form", metric, "largest error", "least cosine", box=SIMPLE, pad_edge=False)
    for rung in report.ladder:
        worst = rung.difference
        cosine = said_of(report, f"{worst.min_cosine:.6f}") if rung.outputs else "-"
        ladder.add_row(rung.name, number(rung.metric), f"{worst.max_abs_error:.2g}", cosine)
    out.print(ladder)
    archive, name = report.archive, report.name
    out.print(f"{store / name}.mar  {archive.bytes:,} bytes  sha256 {archive.sha256}")
    out.print(f"{store / name}.report.html")
    show_doubts(report)


def show_doubts(report: Report) -> None:
    """Print, where nobody overlooks it, what the figures of a report don't show."""
    for doubt in doubts(report):
        err.print(f"[bold yellow]warning: {doubt.title}:[/] {escape(doubt.said)}")
        err.print(f"[bold]hint:[/] {escape(doubt.hint)}")


def said_of(report: Report, cosine: str) -> str:
    """A cosine, with what it is of where that is next to nothing."""
    of = doubtful(report)
    return f"{cosine} ({of})" if of and cosine != "-" else cosine


def verdicts(report: Report) -> Iterator[str]:
    """The reasons why candidates were not taken, each once, with the logs of what broke."""
    same: dict[tuple[str, str], list[CandidateResult]] = {}
    for row in report.candidates:
        if row.status != "admissible":
            same.setdefault((row.status, row.verdict), []).append(row)
    for (status, verdict), rows in same.items():
        names = ", ".join(row.candidate for row in rows)
        count = f"{len(rows)} candidates " if len(rows) > 1 else ""
        yield f"{count}{status}: {verdict}: {names}" if count else f"{names} {status}: {verdict}"
        if status == "failed":
            yield f"  what the engine said: {', '.join(row.log for row in rows)}"


def candidates_table(report: Report) -> Table:
    """Make the table of all candidates, what was measured of them, and their verdicts."""
    original, metric = report.original, report.metric
    columns: list[Column | str] = [Column(each, no_wrap=True) for each in ("candidate", "verdict")]
    figures = ["MB", *([metric_name(metric)] if metric else []), "cosine", "ms at 1"]
    figures.append(f"per s at {original.batch_size}")
    columns += [
        Column(each, min_width=max(6, *map(len, each.split())), no_wrap=each == "cosine")
        for each in figures
    ]
    table = Table(*columns, box=SIMPLE, pad_edge=False)

    what = "sample" if held_out(report) else "example"
    of = f" of {counted(report.samples, what)}" if doubtful(report) else ""

    def add(name: str, verdict: str, size: str, score: float | None, *figures: str) -> None:
        table.add_row(name, verdict, size, *([number(score)] if metric else []), *figures)

    add("original", "", "", report.first.metric, "", *speeds(original))
    for row in report.candidates:
        add(
            row.candidate,
            f"[{COLOURS[row.status]}]{row.status}[/]",
            number(row.bytes and row.bytes / 1e6, 2),
            row.metric,
            f"{row.difference.min_cosine:.4f}{of}" if row.difference else "-",
            *speeds(row.timing),
        )
    return table


def speeds(timing: Timing | None) -> tuple[str, str]:
    """Format the milliseconds of a batch of one, and the samples a second."""
    if timing is None:
        return "-", "-"
    return f"{timing.p50_ms:.3g}", f"{timing.samples_per_s:.0f}"


def warn_of_instructions(archive: Path | Named) -> None:
    """Print what is to be feared of an archive on this CPU, if it was made for another."""
    from handlers import cpu  # not before the command has claimed the name
    from marsmith.archive.reading import instructions

    for warning in cpu.warnings(instructions(archive)):
        err.print(f"[bold yellow]warning:[/] {escape(str(archive))}: {escape(warning)}")


def show_conversion(report: ConversionReport) -> None:
    """Print what a conversion wrote, and how it compares with PyTorch."""
    table = Table("output", "largest error", "relative", "least cosine", box=SIMPLE, pad_edge=False)
    for name, worst in report.outputs.items():
        error, relative = worst.max_abs_error, worst.max_rel_error
        cosine = f"{worst.min_cosine:.6f}"
        if report.samples == 1:
            cosine += " (of 1 sample alone)"
        table.add_row(name, f"{error:.2g}", f"{relative:.2g}", cosine)
    out.print(table)
    for file, size in report.files.items():
        out.print(f"{file}  {size:,} bytes", markup=False)


def number(value: float | None, digits: int = 4) -> str:
    """Format a number for a table; a dash if there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def show_status(found: ServerStatus) -> None:
    """Print a server's status for people."""
    for problem in found.problems:
        out.print(f"[bold red]not ready:[/] {escape(problem)}")
    for name, value in found:
        if name not in ("models", "ready", "problems") and value is not None:
            path = "/metrics" if name == "metrics_address" else ""
            out.print(f"{name.replace('_', ' ')}: {value}{path}", markup=False)
    table = Table("model", "version", "batch", "workers")
    for model in found.models:
        workers = ", ".join(f"{worker.status} (pid {worker.pid})" for worker in model.workers)
        table.add_row(model.name, model.version, str(model.batch_size), workers)
    out.print(table)


def show_curl(found: ServerStatus) -> None:
    """Print a request that can be pasted into a shell; it reads the key, and doesn't show it."""
    for model in found.models[:1]:
        url = f"{found.inference_address}/predictions/{model.name}"
        key = shlex.quote(str(found.key_file.with_name("key")))
        # What a public authority has signed needs none; the usual one here is signed by itself.
        trusted = "--cacert CERT " if url.startswith("https:") else ""
        header = f'-H "Authorization: Bearer $(cat {key})"'
        out.print(f"try: curl --max-time 60 {trusted}{header} {url} -T INPUT", markup=False)


def step_line(step: Step) -> str:
    """A step of a rollout in a line."""
    line = step.step
    if step.answers:
        line += f": {step.answers} answers, {step.error_rate:.1%} errors"
    if step.p99_ms and step.old_p99_ms:
        line += f", p99 {step.p99_ms:.1f} ms, the old version's {step.old_p99_ms:.1f} ms"
    if step.compared:
        line += f", {step.disagreement:.1%} of {step.compared} answers compared differ"
    return line


def show_rollout(steps: Sequence[Step]) -> None:
    """Print what was measured of a new version, step by step; nothing, if nothing was."""
    columns = ("step", "answers", "errors", "p99 ms", "the old's", "compared", "differ")
    table = Table(*columns, box=SIMPLE, pad_edge=False)
    for step in steps:
        if step.answers or step.compared or step.old_p99_ms is not None:
            slowest = (step.p99_ms, step.old_p99_ms)
            table.add_row(
                step.step, str(step.answers), f"{step.error_rate:.1%}",
                *("-" if each is None else f"{each:.1f}" for each in slowest),
                str(step.compared), f"{step.disagreement:.1%}",
            )  # fmt: skip
    if table.row_count:
        out.print(table)


def show_versions(found: Mapping[str, Mapping[str, str | None]]) -> None:
    """Print which version of each model serves, and which one did before."""
    table = Table("model", "serves", "before")
    for model, said in found.items():
        table.add_row(model, said["serving"], said["before"] or "-")
    out.print(table)


def show_keys(found: Sequence[Key]) -> None:
    """Print what is kept of keys."""
    table = Table("key", "for", "requests a second", "added")
    for key in found:
        added = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.added))
        table.add_row(key.name, ", ".join(key.scopes), str(key.rate or "any"), added)
    out.print(table)
