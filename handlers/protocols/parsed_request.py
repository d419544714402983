"""A request as it was read, before its instances are decoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from handlers.errors import BadRequest
from handlers.schema import kind

Protocol = Literal["raw", "v1", "v2"]


@dataclasses.dataclass(frozen=True)
class ParsedRequest:
    """One row, read but not yet decoded.

    Attributes:
        protocol: how the answer is to be written.
        instances: what to decode, one value each: bytes, plain JSON data, a numpy array (v2), or
            a mapping from input names to arrays (v2 with several inputs).
        options: as the client gave them, not yet validated.
        textual: the options are strings, as form fields are.
        identity: a v2 request's `id`, to be given back.
        outputs: those that a v2 request wants, by name, and whether as bytes; None for all.
        binary: whether a v2 request wants the others as bytes, behind the JSON.
    """

    protocol: Protocol | Literal["openai"]
    instances: Sequence[object]
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    textual: bool = False
    identity: str | None = None
    outputs: Mapping[str, bool] | None = None
    binary: bool = False


def parameters(body: Mapping[str, object]) -> Mapping[str, object]:
    """The options in a body.

    Raises:
        BadRequest: they are not an object.
    """
    found = body.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadRequest(f"'parameters' must be an object, not {kind(found)}")
    return found
