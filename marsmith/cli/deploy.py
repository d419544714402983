"""`marsmith deploy`: files that other systems deploy archives from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marsmith.cli.terminal import out

app = typer.Typer(no_args_is_help=True, help="Write what other systems deploy archives from.")


@app.command()
def ray(
    archives: Annotated[list[str], typer.Argument(help=".mar files, or FILE@sha256:DIGEST.")],
    file: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("serve.yaml"),
    trust: Annotated[
        list[Path] | None,
        typer.Option(help="A public key, or a folder of them: one must have signed each."),
    ] = None,
    keys: Annotated[bool, typer.Option(help="Ask for keys.")] = True,
    keys_file: Annotated[
        Path | None, typer.Option(help="Where nodes have the keys; default: this user's there.")
    ] = None,
    ingresses: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Replicas that speak to clients, each on its own node; 0: a single model's own"
            " replicas do. By default 0 for one archive, else 1.",
        ),
    ] = None,
) -> None:
    """Write an applications file of archives, for `serve deploy` of Ray Serve."""
    from marsmith.deploy.ray import write
    from marsmith.serving.ray.arguments import ApplicationArguments

    arguments = ApplicationArguments(
        archives=tuple(archives),
        trust=tuple(trust or ()),
        keys=keys,
        keys_file=keys_file,
        ingresses=ingresses,
    )
    out.print(f"wrote {write(archives, file, arguments)}", markup=False)
    out.print(f"next: serve deploy {file}", markup=False)
