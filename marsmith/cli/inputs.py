"""What commands take as inputs: files as request bodies, and options as name=value."""

from __future__ import annotations

from pathlib import Path

from marsmith.errors import MarsmithError

MEDIA_TYPES = {".json": "application/json", ".txt": "text/plain"}


def read_input(path: Path) -> bytes:
    """Read a request body from a file.

    Raises:
        MarsmithError: the file can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise MarsmithError(f"the input {path} can't be read: {error.strerror}") from error


def media_type(path: Path) -> str:
    """The media type of an input by its file name; empty for raw bytes."""
    return MEDIA_TYPES.get(path.suffix.lower(), "")


def read_option(text: str) -> tuple[str, str]:
    """Read an option from "name=value".

    Raises:
        MarsmithError: there is no "=" in it.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise MarsmithError(f"the option {text!r} must be name=value")
    return name, value
