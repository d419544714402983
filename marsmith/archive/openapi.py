"""The OpenAPI document of a server, from the schemas that travel in its archives.

See: https://spec.openapis.org/oas/v3.1.1.html; its schemas are JSON Schemas (2020-12).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from handlers.protocols.tensors import DATATYPES
from marsmith.archive import openai_routes, operations
from marsmith.archive.operations import JSON, Schema, ref
from marsmith.archive.reading import inspect
from marsmith.errors import ArchiveError

NEEDED = {"columns", "media_types", "explanations"}
AGAIN: Schema = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
}  # fmt: skip
REQUEST_ID: Schema = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "Comes back with the answer, and is in the access log.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
}
SHARED: dict[str, Schema] = {
    "Tensor": {
        "type": "object",
        "description": "A tensor of the Open Inference Protocol v2; its first dimension is the"
        " batch.",
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            "datatype": {"type": "string", "enum": [*DATATYPES, "BYTES"]},
            "data": {"type": "array", "items": {}, "description": "Row by row, flat or nested."},
        },
        "required": ["name", "shape", "datatype", "data"],
    },
    "Error": {
        "type": "object",
        "description": "What was wrong, and what to do about it.",
        "properties": {"error": {"type": "string"}, "hint": {"type": "string"}},
        "required": ["error", "hint"],
    },
    "TorchServeError": {
        "type": "object",
        "description": "What TorchServe itself says.",
        "properties": {
            "code": {"type": "integer"},
            "type": {"type": "string"},
            "message": {"type": "string"},
        },
        "required": ["code", "type", "message"],
    },
    "Ready": {
        "type": "object",
        "properties": {"ready": {"type": "boolean"}},
        "required": ["ready"],
    },
}


def document(archives: Sequence[Path], address: str = "http://127.0.0.1:8080") -> dict[str, object]:
    """Describe a server that serves archives.

    Args:
        archives: `.mar` files that marsmith built.
        address: of the server's inference API.

    Returns:
        An OpenAPI 3.1 document: for every model what it takes, what it answers in each protocol,
        and how it explains its answers if it does.

    Raises:
        ArchiveError: one was not built by marsmith, or two hold models of one name.
    """
    facts = {str(path): _facts(path) for path in archives}
    names = [each["name"] for each in facts.values()]
    for name in names:
        if names.count(name) > 1:
            raise ArchiveError(f"two of the archives hold a model named {name!r}")
    return of(facts, address)


def of(descriptions: Mapping[str, Any], address: str) -> dict[str, object]:
    """Describe a server by what its models say of themselves.

    Args:
        descriptions: of models, by where they come from; see `operations.Description`.
        address: of the server's inference API.

    Raises:
        ArchiveError: one of them has no schemas in it.
    """
    paths: dict[str, object] = {"/v2/health/ready": {"get": _READY}}
    schemas, models = dict(SHARED), []
    for where, said in descriptions.items():
        if not isinstance(said, Mapping) or not set(said) >= NEEDED:
            raise ArchiveError(
                f"{where} has no schemas in it that an OpenAPI document could be made of",
                "build it with this version of marsmith",
            )
        try:
            example = said.get("example") or {}  # a server's, whose media type an archive has
            description: Any = {"instance": {}, "parts": (), **example, **said}
            models.append(description)
            paths |= operations.paths(description)
            schemas |= operations.schemas(description)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ArchiveError(f"{where} has schemas in it that are none: {error!r}") from error
    names = sorted(each["name"] for each in models)
    routes, told = openai_routes.described(models)
    paths |= routes
    schemas |= told
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Predictions of {', '.join(names)}",
            "version": version("marsmith"),
        },
        "servers": [{"url": address}],
        "security": [{"key": []}],
        "tags": [{"name": name} for name in [*names, *(["openai"] if routes else [])]],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": {"RequestId": REQUEST_ID},
            "responses": _responses(),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of the server's; `marsmith keys add` makes one.",
                }
            },
        },
    }


def _facts(path: Path) -> Any:
    facts = inspect(path)["facts"]
    return {"name": str(path), **facts} if isinstance(facts, dict) else {"name": str(path)}


def _responses() -> dict[str, Schema]:
    """The responses of `operations.REFUSALS` and `FAILURES`, by their status."""
    both = [ref("Error"), ref("TorchServeError")]
    found = {
        status: _response(told, ref("Error"), status in operations.AGAIN)
        for status, told in operations.REFUSALS.items()
    }
    for status, told in operations.FAILURES.items():
        found[status] = _response(told, {"anyOf": both}, status in operations.AGAIN)
    return {f"Status{status}": response for status, response in found.items()}


def _response(told: str, schema: Schema, again: bool) -> Schema:
    headers = {"headers": AGAIN} if again else {}
    return {"description": told, **headers, "content": {JSON: {"schema": schema}}}


_READY: Schema = {
    "operationId": "ready",
    "summary": "Whether every model can be asked",
    "tags": ["server"],
    "security": [],
    "responses": {
        status: _response(told, ref("Ready"), status == "503")
        for status, told in (("200", "It can."), ("503", "One of them can't."))
    },
}
