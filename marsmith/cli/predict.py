"""`marsmith predict`: what files, standard input or a text ask of a running server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from marsmith.cli import completion
from marsmith.cli.arguments import Port
from marsmith.cli.inputs import bodies, read_option
from marsmith.errors import MarsmithError, no_such

Texts = Annotated[list[str] | None, typer.Option("--text", help="A text to send; may be repeated.")]
MediaType = Annotated[
    str | None, typer.Option("--type", help="The media type of what is sent, such as text/plain.")
]


def predict(
    model: Annotated[str, typer.Argument(autocompletion=completion.served)],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Request bodies, sent one by one; - is standard input."),
    ] = None,
    text: Texts = None,
    media_type: MediaType = None,
    option: Annotated[list[str] | None, typer.Option(help="An option, as name=value.")] = None,
    port: Port = None,
    timeout_s: Annotated[float, typer.Option(help="For each answer.")] = 60.0,
    stream: Annotated[
        bool, typer.Option(help="Print what is written, or spoken, as it comes.")
    ] = False,
) -> None:
    """Send inputs to a running server and print its answers, one JSON line each."""
    from marsmith.serving import server

    options = dict(read_option(each) for each in option or [])
    info = server.running(port)
    if model not in info.models:
        raise MarsmithError(
            no_such("model", model, info.models, f"on port {info.port}"),
            "`marsmith status` shows what a server has, --port chooses another",
        )
    sent = bodies(inputs or [], text or [], media_type)
    with server.client(info, timeout_s) as client:
        for each in sent:
            ask, show = (client.stream, write_pieces) if stream else (client.predict, write)
            show(ask(model, each.data, content_type=each.media_type, options=options))


def write_pieces(pieces: Iterable[Any]) -> None:
    """Write a stream to standard output as it comes: text, and a line's end, or bytes."""
    end = ""
    for piece in pieces:
        if isinstance(piece, bytes):
            sys.stdout.buffer.write(piece)
        else:
            sys.stdout.write(piece["text"])
            end = "\n"
        sys.stdout.flush()
    sys.stdout.write(end)


def write(answer: object) -> None:
    """Write an answer to standard output: JSON in a line, or bytes as they are."""
    if isinstance(answer, bytes):
        sys.stdout.buffer.write(answer)
    else:
        sys.stdout.write(json.dumps(answer) + "\n")
