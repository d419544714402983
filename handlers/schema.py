"""Typed settings from plain data: one dataclass validates, fills defaults and describes.

The same definition reads the `handler:` section of a `model-config.yaml`, the options of a
request, and makes the JSON Schema that a describe request answers with.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Json: TypeAlias = 'bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None'
JsonObject: TypeAlias = "Mapping[str, Json]"

JSON_TYPES: dict[object, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
MAX_COMPARED = 1000  # names, to find the nearest: some 3 ms
MAX_NAMES = 20  # in a message
WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class SchemaError(ValueError):
    """A value that its definition doesn't allow; the message names the key and what is allowed.

    Args:
        message: as said.
        key: the key alone.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


def setting(
    default: T,
    doc: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    max_items: int | None = None,
) -> T:
    """Declare one setting of a dataclass.

    Args:
        default: its value when nothing is set.
        doc: one sentence for people; travels into the JSON Schema.
        minimum: the smallest number allowed, inclusive.
        maximum: the largest number allowed, inclusive.
        max_items: the most items of a list; longer ones are refused before they are read.
    """
    bounds = {"minimum": minimum, "maximum": maximum, "maxItems": max_items}
    return dataclasses.field(default=default, metadata={"doc": doc, "bounds": bounds})


def parse(cls: type[T], values: object, *, where: str, text: bool = False) -> T:
    """Make a `cls` from plain data.

    Args:
        cls: a dataclass whose fields are made by `setting`.
        values: a mapping from field names to plain values.
        where: what the mapping is, for messages: "the handler section", "the options".
        text: values are strings, as form fields are; read numbers and booleans from them.

    Raises:
        SchemaError: not a mapping, an unknown key, a wrong type, a number out of bounds.
    """
    if not isinstance(values, Mapping):
        raise SchemaError(f"{where} must be a mapping, not {kind(values)}")
    fields, hints = _definition(cls)  # type: ignore[arg-type]  # a class is hashable
    parsed: dict[str, object] = {}
    for key, value in values.items():
        if key not in fields:
            raise SchemaError(unknown(str(key), list(fields), where), str(key)[:80])
        try:
            _check_length(value, fields[key], text)
            parsed[key] = _convert(value, hints[key], text)
            _check_bounds(parsed[key], fields[key])
        except SchemaError as error:
            raise SchemaError(f"{key!r} in {where} {error}", key) from None
    return cls(**parsed)


@functools.cache
def _definition(cls: type) -> tuple[dict[str, dataclasses.Field[object]], dict[str, object]]:
    return {field.name: field for field in dataclasses.fields(cls)}, get_type_hints(cls)


def unknown(key: str, known: Sequence[str], where: str) -> str:
    """The message that a key is unknown, with the nearest and all that there are."""
    key = key[:80]  # a client may send megabytes
    close = difflib.get_close_matches(key, known[:MAX_COMPARED], n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    allowed = ", ".join(known[:MAX_NAMES]) if known else "none"
    if len(known) > MAX_NAMES:
        allowed += f" and {len(known) - MAX_NAMES} more"
    return f"{key!a} is not allowed in {where}; {guess}allowed: {allowed}"


def kind(value: object) -> str:
    """Name the kind of a plain value in JSON's words, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", type(None): "null"}
    names |= {bool: "a boolean", int: "an integer", float: "a number", bytes: "bytes"}
    return names.get(type(value), f"a {type(value).__name__}")


def json_schema(cls: type, defaults: Mapping[str, Any] | None = None) -> JsonObject:
    """The JSON Schema (2020-12) of a dataclass whose fields are made by `setting`.

    Args:
        cls: the dataclass.
        defaults: replace the fields' own.
    """
    hints = get_type_hints(cls)
    properties: dict[str, Json] = {}
    for field in dataclasses.fields(cls):
        bounds = field.metadata.get("bounds", {})
        default = {} if field.default is dataclasses.MISSING else {"default": field.default}
        if defaults and field.name in defaults:
            default = {"default": defaults[field.name]}
        properties[field.name] = {
            **type_schema(hints[field.name]),
            **{name: bound for name, bound in bounds.items() if bound is not None},
            **default,
            "description": field.metadata.get("doc", ""),
        }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _convert(value: object, hint: object, text: bool) -> object:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is object:  # whoever declares it so looks at it himself
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, text)
    if origin is Literal:
        if value in arguments:
            return value
        raise SchemaError(f"must be one of {', '.join(map(repr, arguments))}, not {_show(value)}")
    if origin is tuple:
        return _convert_tuple(value, arguments, text)
    if origin in (dict, Mapping) or hint is dict:
        if isinstance(value, Mapping):
            return dict(value)
        raise SchemaError(f"must be a mapping, not {kind(value)}")
    if text and isinstance(value, str):
        value = _from_text(value, hint)
    if hint is float and type(value) is int:
        value = _finite(value)
    if type(value) is not hint:
        raise SchemaError(f"must be {_name(hint)}, not {_show(value)}")
    return _finite(value) if isinstance(value, float) else value


def _convert_union(value: object, hints: tuple[object, ...], text: bool) -> object:
    if value is None and type(None) in hints:
        return None
    if type(value) in hints and not isinstance(value, (float, str) if text else float):
        return value  # a list may have a thousand: an error for each other hint would take long
    hints = tuple(hint for hint in hints if hint is not type(None))
    for hint in hints:
        try:
            return _convert(value, hint, text)
        except SchemaError as error:
            if len(hints) == 1:
                raise error
    raise SchemaError(f"must be {' or '.join(map(_name, hints))}, not {_show(value)}")


def _convert_tuple(value: object, arguments: tuple[object, ...], text: bool) -> tuple[object, ...]:
    if text and isinstance(value, str):
        value = _listed(value)
    if not isinstance(value, (list, tuple)):
        raise SchemaError(f"must be a list, not {kind(value)}")
    if arguments[-1] is Ellipsis:
        return tuple(_convert(item, arguments[0], text) for item in value)
    if len(value) != len(arguments):
        raise SchemaError(f"must be a list of {len(arguments)}, not of {len(value)}")
    return tuple(_convert(item, hint, text) for item, hint in zip(value, arguments, strict=True))


def _listed(text: str) -> object:
    """Read a list from a form field: JSON, or words with commas between."""
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise SchemaError("must be a list; this one is not valid JSON") from None
    return [part.strip() for part in text.split(",")]


def _from_text(value: str, hint: object) -> object:
    try:
        if hint is bool:
            return WORDS.get(value.strip().lower(), value)
        if hint is int:
            return int(value)
        return float(value) if hint is float else value
    except ValueError:
        return value


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SchemaError("must be a finite number")
    return number


def _check_length(value: object, field: dataclasses.Field[object], text: bool) -> None:
    most = field.metadata.get("bounds", {}).get("maxItems")
    if most is None:
        return
    items = _listed(value) if text and isinstance(value, str) else value
    if isinstance(items, (list, tuple)) and len(items) > most:
        raise SchemaError(f"must be a list of at most {most}, not of {len(items)}")


def _check_bounds(value: object, field: dataclasses.Field[object]) -> None:
    bounds = field.metadata.get("bounds", {})
    low, high = bounds.get("minimum"), bounds.get("maximum")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            if low is not None and number < low:
                raise SchemaError(f"must be at least {low}, not {_show(number)}")
            if high is not None and number > high:
                raise SchemaError(f"must be at most {high}, not {_show(number)}")


def _name(hint: object) -> str:
    if get_origin(hint) is tuple:
        arguments = get_args(hint)
        count = "" if arguments[-1] is Ellipsis else f" of {len(arguments)}"
        return f"a list{count} ({getattr(arguments[0], '__name__', arguments[0])})"
    names: dict[object, str] = {bool: "true or false", int: "an integer", float: "a number"}
    return {**names, str: "a string"}.get(hint, str(hint))


def _show(value: object) -> str:
    # Never the whole value: it may be megabytes, nested a thousand deep, or not encodable.
    if isinstance(value, (bool, int, float)):
        return ascii(value)[:40] if not isinstance(value, int) or abs(value) < 10**30 else "huge"
    return f"{value[:40]!a}" if isinstance(value, str) else kind(value)


def type_schema(hint: object) -> JsonObject:
    """The JSON Schema of one type hint."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [type_schema(argument) for argument in arguments]}
    if origin is Literal:
        return {"type": JSON_TYPES[type(arguments[0])], "enum": list(arguments)}
    if origin in (tuple, list):
        count = None if Ellipsis in arguments or origin is list else len(arguments)
        sized = {"minItems": count, "maxItems": count} if count is not None else {}
        return {"type": "array", "items": type_schema(arguments[0]), **sized}
    if origin is dict:
        return {"type": "object", "additionalProperties": type_schema(arguments[1])}
    if hint is type(None):
        return {"type": "null"}
    return {"type": JSON_TYPES[hint]} if hint in JSON_TYPES else {}


def object_schema(
    properties: Mapping[str, JsonObject], optional: Mapping[str, JsonObject] | None = None
) -> JsonObject:
    """The JSON Schema of an object.

    Args:
        properties: what it has in any case, by name.
        optional: what it may have, too.
    """
    every = {**properties, **(optional or {})}
    return {"type": "object", "properties": every, "required": list(properties)}
