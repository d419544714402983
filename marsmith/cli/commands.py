"""The `marsmith` command: one function per verb; results on stdout, progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn

import typer

from marsmith import __version__, our_handlers
from marsmith.cli import (
    archives,
    bench,
    deploy,
    dev,
    doctor,
    examples,
    foreign,
    keys,
    listing,
    making,
    predict,
    registries,
    reports,
    rollouts,
    servers,
    stopping,
    terminal,
    tune,
    ui,
    unpickle,
)
from marsmith.cli.json_output import OPTION, print_line, told
from marsmith.cli.terminal import out
from marsmith.errors import MarsmithError

SERVERS = "Servers"
PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "From a model to an archive": (
        making.build, making.new, making.convert, examples.examples, reports.report, dev.dev,
        foreign.adopt, unpickle.unpickle,
    ),
    "Archives": (
        archives.inspect, archives.sign, archives.verify, archives.sbom, archives.openapi,
        archives.run, reports.diff, registries.push, registries.pull,
    ),
    SERVERS: (
        servers.serve, servers.status, servers.scale, servers.stop, predict.predict, bench.bench,
        tune.tune, rollouts.rollout, rollouts.rollback, rollouts.versions, doctor.doctor, ui.ui,
    ),
    "What there is": (listing.tasks, listing.runtimes, listing.metrics, listing.passes),
}  # fmt: skip
"""The commands, as `--help` shows them."""
EPILOGS = {making.convert: f"Formats: {', '.join(making.formats())}."}

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"marsmith {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit."),
    ] = False,
) -> None:
    """A trained PyTorch model in, a verified archive that TorchServe serves out."""


for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel, epilog=EPILOGS.get(command))(command)
app.add_typer(keys.app, name="keys", rich_help_panel=SERVERS)
app.add_typer(deploy.app, name="deploy", rich_help_panel=SERVERS)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command; an error of ours becomes a message and status 1, never a traceback."""
    stopping.listen()
    try:
        our_handlers.claim()
        app(arguments)
    except MarsmithError as error:
        fail(error, arguments)
    except (Exception, SystemExit) as error:
        from marsmith import causes

        if (said := causes.explained(error)) is None:
            raise  # the end of the command, or a fault of ours, which is to be told whole
        if (status := stopping.status()) is not None:  # no fault of theirs
            sys.exit(status)
        fail(said, arguments)
    sys.exit(0)


def fail(error: MarsmithError, arguments: Sequence[str] | None) -> NoReturn:
    """Print an error, as JSON on stdout too if that is asked for, and end with status 1."""
    terminal.show_error(error)
    if OPTION in (sys.argv[1:] if arguments is None else arguments):
        print_line(told(error))
    sys.exit(1)
