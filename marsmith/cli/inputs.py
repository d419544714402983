"""What commands take as inputs: files, standard input or texts as bodies; options as name=value."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marsmith.errors import MarsmithError

STDIN = Path("-")


@dataclass(frozen=True)
class Sent:
    """What a request sends.

    Attributes:
        name: of the file; "-" for standard input, "--text" for a text.
        data: its bytes.
        media_type: empty for raw bytes.
    """

    name: str
    data: bytes
    media_type: str


def bodies(inputs: Sequence[Path], texts: Sequence[str], chosen: str | None = None) -> list[Sent]:
    """Read what is to be sent.

    Args:
        inputs: files; "-" is standard input, whose type is JSON if it is a JSON object or list.
        texts: each a body of its own.
        chosen: the media type of all of them; None to take it from names.

    Raises:
        MarsmithError: a file can't be read, or there is nothing to send.
    """
    if inputs.count(STDIN) > 1:
        raise MarsmithError("standard input, -, can be sent only once")
    read = [_body(path) for path in inputs] + [
        Sent("--text", text.encode(), "text/plain") for text in texts
    ]
    if not read:
        raise MarsmithError(
            "there is nothing to send", "name files, - for standard input, or say --text"
        )
    return [Sent(each.name, each.data, chosen or each.media_type) for each in read]


def _body(path: Path) -> Sent:
    from marsmith.client.bodies import JSON, media_type, read_file

    if path != STDIN:
        return Sent(str(path), read_file(path), media_type(path))
    data = sys.stdin.buffer.read()
    try:
        is_json = isinstance(json.loads(data), (dict, list))
    except (ValueError, RecursionError):
        is_json = False
    return Sent("-", data, JSON if is_json else "")


def read_option(text: str) -> tuple[str, str]:
    """Read an option from "name=value".

    Raises:
        MarsmithError: there is no "=" in it.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise MarsmithError(f"the option {text!r} must be name=value")
    return name, value


def answer_of(body: str) -> object:
    """An answer's JSON; its text, where it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return body
