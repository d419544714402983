"""The OpenAPI document of a server, from the schemas that travel in its archives.

See: https://spec.openapis.org/oas/v3.1.1.html; its schemas are JSON Schemas (2020-12).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

from handlers.protocols.tensors import DATATYPES
from marsmith.archive.reading import inspect
from marsmith.errors import ArchiveError

JSON = "application/json"
BYTES = "application/octet-stream"
FORM = "multipart/form-data"
Schema = Mapping[str, object]

STATUSES = {
    "4XX": "The request can't be read (400), is too large (413), of a medium that isn't supported"
    " (415), or asks for what isn't allowed (422).",
    "5XX": "The model failed (500), there is no time or no worker left (503), or no memory (507).",
}
SHARED: dict[str, Schema] = {
    "Tensor": {
        "type": "object",
        "description": "A tensor of the Open Inference Protocol v2; its first dimension is the"
        " batch.",
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            "datatype": {"enum": [*DATATYPES, "BYTES"]},
            "data": {"type": "array", "description": "Row by row, flat or nested."},
        },
        "required": ["name", "shape", "datatype", "data"],
    },
    "Error": {
        "description": "What was wrong, and what to do about it; or TorchServe's own words.",
        "anyOf": [
            {
                "type": "object",
                "properties": {"error": {"type": "string"}, "hint": {"type": "string"}},
                "required": ["error", "hint"],
            },
            {
                "type": "object",
                "properties": {
                    "code": {"type": "integer"},
                    "type": {"type": "string"},
                    "message": {"type": "string"},
                },
                "required": ["code", "type", "message"],
            },
        ],
    },
}


class Options(TypedDict):
    """The JSON Schema of a request's options."""

    properties: Schema


class Kind(TypedDict):
    """What an archive says of one kind of answers: predictions, or explanations."""

    options: Options
    output: Schema
    columns: Sequence[str]
    media_types: Sequence[str]


class Described(Kind):
    """What is read of an archive's facts."""

    name: str
    task: str
    content_type: str
    max_instances: int
    input: object
    explanations: Kind


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
    paths: dict[str, object] = {}
    schemas = dict(SHARED)
    for path in archives:
        try:
            _describe(_facts(path), paths, schemas)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ArchiveError(f"{path} has schemas in it that are none: {error!r}") from error
    names = sorted(path.rpartition("/")[2] for path in paths if path.startswith("/predictions"))
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Predictions of {', '.join(names)}", "version": version("marsmith")},
        "servers": [{"url": address}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "TorchServe's inference key; see its key_file.json.",
                }
            },
        },
    }


def _describe(facts: Described, paths: dict[str, object], schemas: dict[str, Schema]) -> None:
    """Add what one archive says."""
    name = facts["name"]
    if f"/predictions/{name}" in paths:
        raise ArchiveError(f"two of the archives hold a model named {name!r}")
    explained = facts["explanations"]
    schemas |= _schemas(name, "Answer", facts)
    paths[f"/predictions/{name}"] = {"post": _operation(facts, "predict", "Answer", facts)}
    if explained:
        schemas |= _schemas(name, "Explanation", explained)
        operation = _operation(facts, "explain", "Explanation", explained)
        paths[f"/explanations/{name}"] = {"post": operation}


def _facts(path: Path) -> Described:
    facts: Described | None = inspect(path)["facts"]
    if not isinstance(facts, dict) or not {"columns", "media_types", "explanations"} <= set(facts):
        raise ArchiveError(
            f"{path} has no schemas in it that an OpenAPI document could be made of",
            "build it with this version of marsmith",
        )
    return facts


def _schemas(name: str, kind: str, made: Kind) -> dict[str, Schema]:
    """The schemas of one model's answers, or of its explanations, and of their options."""
    answer = f"{name}.{kind}"
    columns = ", ".join(made["columns"])
    return {
        f"{answer}.options": made["options"],
        answer: made["output"],
        f"{answer}.v1": _object({"predictions": {"type": "array", "items": _ref(answer)}}),
        f"{answer}.v2": _object(
            {
                "model_name": {"const": name},
                "model_version": {"type": "string"},
                "id": {"type": "string"},
                "outputs": {
                    "type": "array",
                    "items": _ref("Tensor"),
                    "description": f"One for each of {columns}.",
                },
            },
            optional=("id",),
        ),
    }


def _operation(facts: Described, verb: str, kind: str, made: Kind) -> Schema:
    name = facts["name"]
    forms = [_ref(f"{name}.{kind}{protocol}") for protocol in ("", ".v1", ".v2")]
    answers: dict[str, Schema] = {JSON: {"schema": {"anyOf": forms}}}
    answers |= {media_type: {} for media_type in made["media_types"] if media_type != JSON}
    failed = {"content": {JSON: {"schema": _ref("Error")}}}
    options = _ref(f"{name}.{kind}.options")
    bodies: dict[str, Schema] = {JSON: {"schema": {"anyOf": _json_bodies(facts, options)}}}
    bodies |= {media_type: {} for media_type in (facts["content_type"], BYTES)} | bodies
    fields = {"data": {"description": "The instance: a file."}, **made["options"]["properties"]}
    bodies[FORM] = {"schema": _object(fields, optional=made["options"]["properties"])}
    return {
        "operationId": f"{verb}_{name}",
        "summary": f"{verb.capitalize()}: {facts['task']}, as {name}",
        "description": "An instance may be: " + json.dumps(facts["input"], ensure_ascii=False),
        "requestBody": {"required": True, "content": bodies},
        "responses": {
            "200": {"description": "In the protocol of the request.", "content": answers},
            **{status: {"description": told, **failed} for status, told in STATUSES.items()},
        },
    }


def _json_bodies(facts: Described, options: Schema) -> list[Schema]:
    """The body of a request in each protocol; the last may be anything."""
    instance = {"description": "An instance."}
    several = {"type": "array", "minItems": 1, "maxItems": facts["max_instances"]}
    tensors = {"type": "array", "minItems": 1, "items": _ref("Tensor")}
    forms: dict[str, Schema] = {
        "One instance": {"data": instance},
        "Several instances: KServe v1": {"instances": {**several, "items": instance}},
        "Tensors: Open Inference Protocol v2": {"inputs": tensors, "id": {"type": "string"}},
    }
    bodies = [
        {**_object({**form, "parameters": options}, optional=("parameters", "id")), "title": title}
        for title, form in forms.items()
    ]
    return [*bodies, {"title": "The instance itself"}]


def _object(properties: Schema, optional: Iterable[str] = ()) -> Schema:
    left_out = set(optional)
    required = [name for name in properties if name not in left_out]
    return {"type": "object", "properties": dict(properties), "required": required}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
