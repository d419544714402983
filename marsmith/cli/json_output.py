"""What `--json` prints: one document on stdout, or a line per step, of nothing that JSON hasn't."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import typer

from marsmith.cli.terminal import out, show_error
from marsmith.errors import MarsmithError

OPTION = "--json"
AsJson = Annotated[bool, typer.Option(OPTION, help="Print one JSON document.")]
AsLines = Annotated[bool, typer.Option(OPTION, help="Print JSON, a line each.")]


def print_json(data: object) -> None:
    """Print one document."""
    out.print_json(json.dumps(finite(data), default=str))


def print_line(data: object) -> None:
    """Print one line, at once."""
    sys.stdout.write(json.dumps(finite(data), default=str) + "\n")
    sys.stdout.flush()


def tell(as_json: bool, data: object, *lines: str) -> None:
    """Print one document, or lines for people."""
    if as_json:
        print_json(data)
        return
    for line in lines:
        out.print(line, markup=False)


@contextmanager
def document() -> Iterator[dict[str, object]]:
    """Collect what one document says; an error is told in it, beside what was found before."""
    found: dict[str, object] = {}
    try:
        yield found
    except MarsmithError as error:
        show_error(error)
        print_json(found | told(error))
        raise typer.Exit(1) from None
    print_json(found)


def told(error: MarsmithError) -> dict[str, str]:
    """An error, as JSON."""
    return {"error": error.message, "hint": error.hint}


def finite(data: object) -> object:
    """The same, with None for each number that is infinite, or no number: JSON has none such."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: finite(each) for key, each in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(each) for each in data]
    return data
