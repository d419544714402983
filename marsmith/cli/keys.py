"""`marsmith keys`: who may ask the servers of this user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marsmith.cli import terminal
from marsmith.cli.json_output import AsJson, print_json, tell
from marsmith.cli.terminal import out
from marsmith.errors import MarsmithError

app = typer.Typer(help="Keys to the servers of this user.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the access log calls it.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="predict (the default), explain, metrics.")
    ] = None,
    rate: Annotated[int, typer.Option(min=0, help="Requests a second; 0: any.")] = 0,
    to_file: Annotated[Path | None, typer.Option("--out", help="Write it to a new file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, for all servers of this user; it is shown once, and kept nowhere."""
    from marsmith.serving.front import keys

    if to_file is None and not out.is_terminal:
        raise MarsmithError(
            "a key is shown on a terminal alone, so that it ends up in no log",
            hint="write it into a file that only you can read: --out FILE",
        )
    if to_file is None:
        key = keys.add(name, scope or ["predict"], rate)
        tell(as_json, {"key": key}, key)
        return
    try:
        to_file.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise MarsmithError(f"{to_file} can't be made: {error.strerror}") from error
    try:
        to_file.write_text(keys.add(name, scope or ["predict"], rate), "utf-8")
    except BaseException:  # a full disk, Ctrl-C
        to_file.unlink()
        raise
    tell(as_json, {"file": to_file}, f"wrote {to_file}")


@app.command("list")
def list_all(
    as_json: AsJson = False,
) -> None:
    """Show the keys: their names, what they are for, and when they were made."""
    from marsmith.serving.front import keys

    found = keys.kept()
    if as_json:
        print_json([key.model_dump(mode="json", exclude={"sha256"}) for key in found])
    else:
        terminal.show_keys(found)


@app.command()
def revoke(name: str, as_json: AsJson = False) -> None:
    """Remove a key; running servers refuse it within a second."""
    from marsmith.serving.front import keys

    keys.revoke(name)
    tell(as_json, {"revoked": name})
