"""Files within JSON: base64 text, and KServe's object around it."""

from __future__ import annotations

import base64

from handlers.errors import BadRequest
from handlers.schema import JsonObject, kind, object_schema

ENCODED: JsonObject = {"type": "string", "contentEncoding": "base64"}
SCHEMA: tuple[JsonObject, ...] = (ENCODED, object_schema({"b64": ENCODED}))
"""The JSON Schemas of a file within JSON."""


def unwrap(instance: object) -> object:
    """Decode `{"b64": "..."}`, KServe's way to put bytes into JSON; leave others as they are."""
    if isinstance(instance, dict) and list(instance) == ["b64"]:
        return from_base64(instance["b64"])
    return instance


def encoded(instance: object, what: str) -> bytes:
    """The bytes of an instance that is a file, or a file in base64.

    Args:
        instance: as `ParsedRequest` has it.
        what: what it should be, for the message: "an image".

    Raises:
        BadRequest: it is neither.
    """
    if isinstance(instance, str):
        return from_base64(instance)
    if not isinstance(instance, bytes):
        raise BadRequest(
            f"{what} must be bytes, base64 text or a list of numbers, not {kind(instance)}"
        )
    return instance


def from_base64(text: object) -> bytes:
    """Decode base64 text, with or without a `data:` prefix and padding.

    Raises:
        BadRequest: not a string, empty, or not base64.
    """
    if not isinstance(text, str):
        raise BadRequest(f"base64 must be a string, not {kind(text)}")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    data = _decoded(text)
    if data is None:  # lines, perhaps: most have none, and megabytes aren't copied to find out
        data = _decoded("".join(text.split()))
    if data is None:
        raise BadRequest("the string is not base64", hint="encode the file's bytes")
    if not data:
        raise BadRequest("the base64 string is empty")
    return data


def _decoded(text: str) -> bytes | None:
    padding = "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text + padding if padding else text, validate=True)
    except ValueError:
        return None
