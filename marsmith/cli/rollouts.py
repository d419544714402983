"""`marsmith rollout`, `rollback` and `versions`: another version, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marsmith.cli import completion, json_output, terminal
from marsmith.cli.arguments import Port
from marsmith.cli.json_output import AsJson, AsLines, print_json, print_line
from marsmith.cli.terminal import out, progress
from marsmith.errors import MarsmithError

if TYPE_CHECKING:
    from marsmith.serving.rollout import Step


def rollout(
    model: Annotated[str, typer.Argument(autocompletion=completion.served)],
    archive: Annotated[Path, typer.Argument(help="The new version's .mar file.")],
    canary: Annotated[str, typer.Option(help="Percentages that it gets in turn.")] = "5,25,50,100",
    hold_s: Annotated[float, typer.Option(help="How long each is held.")] = 30.0,
    shadow: Annotated[
        float, typer.Option(help="Share of requests also sent to it, to compare answers, 0 to 1.")
    ] = 0.1,
    tolerance: Annotated[float, typer.Option(help="How far numbers may be apart.")] = 0.05,
    max_disagreement: Annotated[float, typer.Option(help="Of answers compared, 0 to 1.")] = 0.05,
    max_error_rate: Annotated[float, typer.Option(help="Of its answers, 0 to 1.")] = 0.01,
    max_p99_ratio: Annotated[float, typer.Option(help="Over the old version's.")] = 1.5,
    port: Port = None,
    as_json: AsLines = False,
) -> None:
    """Serve another version of a model beside the old one, then more and more, then alone."""
    from marsmith.serving import server

    try:
        shares = tuple(int(each) for each in canary.split(","))
    except ValueError as error:
        raise MarsmithError(f"--canary {canary} must be percentages, such as 5,25,100") from error
    info = server.running(port)
    steps: list[Step] = []

    def told(step: Step) -> None:
        steps.append(step)
        _show(step, say, as_json)

    with _ended(as_json), _reported(steps, as_json), progress() as say:
        server.rollout(
            info,
            model,
            archive,
            told,
            canary=shares,
            hold_s=hold_s,
            shadow=shadow,
            tolerance=tolerance,
            max_disagreement=max_disagreement,
            max_error_rate=max_error_rate,
            max_p99_ratio=max_p99_ratio,
            grace_s=info.grace_s,
        )


def rollback(
    model: Annotated[str, typer.Argument(autocompletion=completion.served)],
    port: Port = None,
    as_json: AsLines = False,
) -> None:
    """Serve the version of a model again that served before the latest rollout."""
    from marsmith.serving import server

    with _ended(as_json), progress() as say:
        server.rollback(server.running(port), model, lambda step: _show(step, say, as_json))


def versions(
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Show which version of each model serves, and which one a rollback would serve."""
    from marsmith.serving import server

    found = server.versions(server.running(port))
    if as_json:
        print_json(found)
    else:
        terminal.show_versions(found)


@contextmanager
def _ended(as_json: bool) -> Iterator[None]:
    """Say in a last line of JSON, where lines are asked for, that and why it came to nothing."""
    try:
        yield
    except (MarsmithError, KeyboardInterrupt) as error:
        if not _in_lines(as_json):
            raise
        said = error if isinstance(error, MarsmithError) else MarsmithError("it was called off")
        terminal.show_error(said)
        print_line({"phase": "failed", **json_output.told(said)})
        raise typer.Exit(1) from None


@contextmanager
def _reported(steps: Sequence[Step], as_json: bool) -> Iterator[None]:
    """Print on a terminal what was measured, however it ends."""
    try:
        yield
    finally:
        if not _in_lines(as_json):
            terminal.show_rollout(steps)


def _in_lines(as_json: bool) -> bool:
    return as_json or not out.is_terminal


def _show(step: Step, say: terminal.Say, as_json: bool) -> None:
    """Tell people on a terminal, and print a line of JSON into a pipe."""
    if _in_lines(as_json):
        print_line(step.model_dump())
    else:
        say(terminal.step_line(step))
