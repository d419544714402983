"""Histories: what a client sends about a user, ids of items and features."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from handlers.errors import BadRequest
from handlers.schema import MAX_NAMES, JsonObject, kind, object_schema, unknown

PARTS = ["history", "features"]
HINT = 'send {"history": ["...", "..."]}'
FLOAT32_MAX = 3.4028234e38


def read(instance: object) -> tuple[list[object], object]:
    """Read an instance's history and features, neither of them checked yet.

    Args:
        instance: a list of ids, or an object of `history` and `features`; also as JSON in a
            string, or with numpy's arrays for lists.

    Returns:
        The history, empty when there is none; and the features, None when there are none.

    Raises:
        BadRequest: it is something else, or has something else in it.
    """
    instance = _plain(instance)
    if isinstance(instance, list):
        return instance, None
    if not isinstance(instance, Mapping):
        raise BadRequest(
            f"an instance must be a list of ids or an object, not {kind(instance)}", hint=HINT
        )
    for key in instance:
        if key not in PARTS:
            raise BadRequest(unknown(str(key), PARTS, "an instance"), status=422)
    history = _plain(instance.get("history", []))
    if not isinstance(history, list):
        raise BadRequest(f"'history' must be a list of ids, not {kind(history)}")
    return history, _plain(instance.get("features"))


def schema(names: Sequence[str]) -> JsonObject:
    """The JSON Schema of an instance.

    Args:
        names: of the features; none where there are none.
    """
    number: JsonObject = {"type": "number"}
    ids: JsonObject = {"type": "array", "items": {"type": ["string", "integer"]}}
    one = object_schema(dict.fromkeys(names, number))
    features: JsonObject = {"anyOf": [one, {"type": "array", "items": number}]}
    known = {"history": ids, "features": features} if names else {"history": ids}
    return {"anyOf": [ids, object_schema({}, known)]}


def numbers(features: object, names: Sequence[str]) -> list[float]:
    """Read features in the order of their names; zeros when there are none.

    Raises:
        BadRequest: 400 for what is not a number, 422 for names and numbers that aren't allowed.
    """
    if features is None:
        return [0.0] * len(names)
    if isinstance(features, list):
        if len(features) != len(names):
            raise BadRequest(
                f"'features' must be {len(names)} numbers, not {len(features)}", status=422
            )
        features = dict(zip(names, features, strict=True))
    if not isinstance(features, Mapping):
        raise BadRequest(f"'features' must be an object or a list, not {kind(features)}")
    for key in features:
        if key not in names:
            raise BadRequest(unknown(str(key), list(names), "'features'"), status=422)
    missing = [name for name in names if name not in features]
    if missing:
        raise BadRequest(f"'features' lacks {', '.join(missing[:MAX_NAMES])}", status=422)
    for name in names:
        if type(features[name]) not in (int, float):
            raise BadRequest(f"feature {name!a} must be a number, not {kind(features[name])}")
        if not abs(features[name]) <= FLOAT32_MAX:  # false of NaN, too
            raise BadRequest(f"feature {name!a} must be a finite float32", status=422)
    return [float(features[name]) for name in names]


def _plain(value: object) -> object:
    """Convert numpy's arrays to lists, and parse strings, such as v2's BYTES, as JSON."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if not isinstance(value, (bytes, str)):
        return value
    try:
        found: object = json.loads(value)
    except (ValueError, RecursionError):
        raise BadRequest("a string must be JSON: a list of ids, or an object", hint=HINT) from None
    return found
