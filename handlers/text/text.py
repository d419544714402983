"""Shared by text tasks: the settings of texts, and reading them from instances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handlers.errors import BadRequest
from handlers.schema import JsonObject, kind, object_schema, setting, unknown
from handlers.task import Config

PAIR = ("text", "text_pair")
SCHEMA: JsonObject = {"type": "string"}
"""The JSON Schema of a text."""


@dataclass(frozen=True, kw_only=True)
class TextConfig(Config):
    """How a text becomes the model's inputs."""

    tokenizer: str = setting(
        "tokenizer.json", "A file in the archive, as the tokenizers library writes it."
    )
    max_tokens: int = setting(
        256, "The most tokens the model is given, special ones included.", minimum=1
    )
    max_characters: int = setting(
        500_000, "The most characters of a request's texts together.", minimum=1
    )
    token_types: bool = setting(False, "The model takes token_type_ids as its third input.")


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """The options of a request."""

    truncate: bool = setting(True, "Cut a text of too many tokens; otherwise it is refused.")


def read(instance: object) -> str:
    """Read the text of an instance.

    Raises:
        BadRequest: it is not a text, or not valid Unicode.
    """
    if isinstance(instance, bytes):
        try:
            return instance.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest(f"the text is not UTF-8: byte {error.start} is wrong") from None
    if not isinstance(instance, str):
        raise BadRequest(
            f"a text must be a string, not {kind(instance)}",
            hint='for several texts send {"instances": ["...", "..."]}',
        )
    try:
        instance.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can have half of a pair, "\ud83d"
        raise BadRequest(
            f"the text has a lone surrogate in it, at character {error.start}", status=422
        ) from None
    return instance


def read_pair(
    instance: object, parts: tuple[str, str] = PAIR, *, both: bool = False
) -> tuple[str, str | None]:
    """Read one or two texts of an instance: a text, an object of `parts`, or a list of two.

    Args:
        instance: see `parsed_request.ParsedRequest`; v2's named inputs come as an object of them.
        parts: an object's names of the first and the second.
        both: whether the second is required, too.

    Raises:
        BadRequest: it is none of these, or a text is not valid Unicode.
    """
    first, second = parts
    if isinstance(instance, Mapping):
        given = parts_of(instance, parts)
    else:
        given = [*instance] if isinstance(instance, (list, tuple)) else [instance, None]
    if len(given) != 2:
        raise BadRequest(f"a list must be of two texts, {first!r} and {second!r}", status=422)
    for name, part in zip(parts, given, strict=True):
        if part is None and (name == first or both):
            hint = f'send {{"{first}": "...", "{second}": "..."}}'
            raise BadRequest(f"the instance has no {name!r}", hint=hint)
    return read(given[0]), None if given[1] is None else read(given[1])


def pair_schema(parts: tuple[str, str] = PAIR) -> tuple[JsonObject, JsonObject]:
    """The JSON Schemas of two texts: an object of `parts`, or a list."""
    two: JsonObject = {"type": "array", "items": SCHEMA, "minItems": 2, "maxItems": 2}
    return object_schema(dict.fromkeys(parts, SCHEMA)), two


def list_schema(most: int) -> JsonObject:
    """The JSON Schema of a list of texts.

    Args:
        most: how many it may have.
    """
    return {"type": "array", "items": SCHEMA, "maxItems": most}


def parts_of(instance: Mapping[str, object], parts: Sequence[str]) -> list[object]:
    """Read what an object has under each of some names; None for what it doesn't have.

    Raises:
        BadRequest: it has something under another name.
    """
    for name in instance:
        if name not in parts:
            raise BadRequest(unknown(str(name), parts, "an instance"), status=422)
    return [instance.get(name) for name in parts]


def parsed(instance: object, what: str, hint: str) -> object:
    """Read an instance of several parts that came as JSON in a string, or in bytes.

    Args:
        instance: anything else is handed back.
        what: what it must be, for messages.
        hint: what to send.

    Raises:
        BadRequest: it is a string, but no JSON.
    """
    if not isinstance(instance, (bytes, str)):
        return instance
    try:
        found: object = json.loads(instance)
    except (ValueError, RecursionError):
        raise BadRequest(what, hint=hint) from None
    return found


def read_list(given: object, name: str, hint: str) -> list[str]:
    """Read the texts of a list, or of a string that holds one in JSON, or else is the only text.

    Args:
        given: the items of a list may be objects with a "text".
        name: of the part, for messages.
        hint: what to send.

    Raises:
        BadRequest: it is something else, or a text is not valid Unicode.
    """
    if isinstance(given, (bytes, str)):  # of a form, or of a tensor
        given = _listed(read(given))
    if not isinstance(given, list):
        raise BadRequest(f"{name!r} must be a list of texts, not {kind(given)}", hint=hint)
    return [
        read(parts_of(each, PAIR[:1])[0] if isinstance(each, Mapping) else each) for each in given
    ]


def _listed(written: str) -> object:
    """Read a list in JSON, or else one text."""
    try:
        found: object = json.loads(written) if written.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        found = None
    return [written] if found is None else found


def check_together(instances: Sequence[object], *, max_characters: int) -> None:
    """Refuse texts that would take too long to tokenise: about 2 s for a million characters.

    Raises:
        BadRequest: they have more than `max_characters` together.
    """
    total, left = 0, list(instances)
    while left:  # no recursion: a client decides how deep it is
        value = left.pop()
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, (list, tuple, Mapping)):
            left += value.values() if isinstance(value, Mapping) else value
    if total > max_characters:
        raise BadRequest(
            f"the texts have {total} characters together; at most {max_characters} are allowed",
            status=413,
        )
