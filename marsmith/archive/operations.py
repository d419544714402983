"""What one model takes and answers, as paths and schemas of OpenAPI: one of each for a protocol.

A path takes and answers one protocol here, and JSON in one form, so that programs that are made of
the document have one type for each. A server takes more: the instance alone as JSON, a file of any
media type, and a body of another protocol, which it answers in that.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

JSON = "application/json"
BYTES = "application/octet-stream"
FORM = "multipart/form-data"
Schema = Mapping[str, Any]

REFUSALS = {
    "400": "The request can't be read.",
    "401": "It needs a key.",
    "403": "The key is not for this.",
    "404": "There is no such model, or no such version.",
    "411": "The body comes without its length.",
    "413": "It is too large, or its answer is.",
    "415": "Its medium is not supported.",
    "422": "It can be read, and asks for what isn't allowed.",
    "429": "The key may not send more now.",
}
FAILURES = {
    "500": "The model failed.",
    "503": "There is no worker, or no time left.",
    "507": "There is no memory left.",
}
AGAIN = ("429", "503")
"""Statuses that come with a `Retry-After`."""
MOST_EXAMPLE = 8192
"""Characters of an example that is shown whole."""
NULL = {"type": "null"}


class Options(TypedDict):
    """The JSON Schema of a request's options."""

    properties: Schema


class Kind(TypedDict):
    """What a model says of one kind of answers: predictions, or explanations."""

    options: Options
    output: Schema
    columns: Sequence[str]
    media_types: Sequence[str]


class Example(TypedDict, total=False):
    """A request that a model answers; a server tells it, an archive doesn't."""

    example: Schema


class Description(Kind, Example):
    """What a model says of itself, as it travels in an archive, or as a server tells it."""

    name: str
    task: str
    content_type: str
    max_instances: int
    input: Schema
    instance: Schema
    parts: Sequence[str]
    explanations: Kind


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def paths(said: Description) -> dict[str, Schema]:
    """The operations of a model, by path and method."""
    name = said["name"]
    found = {
        f"/predictions/{name}": _raw(said, "predict", "Answer", said),
        f"/v1/models/{name}:predict": _v1(said, "predict", "Answer"),
        f"/v2/models/{name}/infer": _v2(said),
    }
    if said["explanations"]:
        explained = said["explanations"]
        found[f"/explanations/{name}"] = _raw(said, "explain", "Explanation", explained)
        found[f"/v1/models/{name}:explain"] = _v1(said, "explain", "Explanation")
    return {path: {"post": operation} for path, operation in found.items()}


def schemas(said: Description) -> dict[str, Schema]:
    """The schemas that the operations of a model refer to."""
    name = said["name"]
    found = {f"{name}.Instance": said["instance"], **_schemas(said, "Answer", said)}
    tensors = {"type": "array", "minItems": 1, "items": ref("Tensor")}
    identity = {"id": {"type": "string"}}
    found[f"{name}.TensorsRequest"] = obj(
        {"inputs": tensors}, {**identity, "parameters": ref(f"{name}.AnswerOptions")}
    )
    model = {"model_name": {"type": "string", "const": name}, "model_version": {"type": "string"}}
    outputs = {
        "type": "array",
        "items": ref("Tensor"),
        "description": f"One for each of {', '.join(said['columns'])}.",
    }
    found[f"{name}.TensorsResponse"] = obj({**model, "outputs": outputs}, identity)
    if streams(said):
        pieces = [said["output"], obj({"text": {"type": "string"}}), ref("Error")]
        found[f"{name}.Piece"] = {"anyOf": pieces, "description": "One piece of a stream."}
    if said["explanations"]:
        found |= _schemas(said, "Explanation", said["explanations"])
    return found


def streams(said: Description) -> Sequence[str]:
    """The media types of a model's streams; none where it doesn't write piece by piece."""
    told = said["input"].get("streams") or {}
    return tuple(told.get("media_types", ()))


def _schemas(said: Description, kind: str, made: Kind) -> dict[str, Schema]:
    """The schemas of answers of one kind, and of what asks for them raw and by KServe's v1."""
    name = said["name"]
    parameters = {"parameters": ref(f"{name}.{kind}Options")}
    several = {"type": "array", "minItems": 1, "maxItems": said["max_instances"]}
    instances = {**several, "items": ref(f"{name}.Instance")}
    predictions = {"type": "array", "items": ref(f"{name}.{kind}")}
    return {
        f"{name}.{kind}Options": made["options"],
        f"{name}.{kind}Request": obj({"data": ref(f"{name}.Instance")}, parameters),
        f"{name}.{kind}Form": _form(said, made["options"]),
        f"{name}.{kind}": made["output"],
        f"{name}.{kind}sRequest": obj({"instances": instances}, parameters),
        f"{name}.{kind}sResponse": obj({"predictions": predictions}),
    }


def _raw(said: Description, verb: str, kind: str, made: Kind) -> Schema:
    """One instance, as a file, as a form or in JSON; one answer, in any of its media types."""
    name = said["name"]
    bodies: dict[str, Schema] = {
        JSON: {"schema": ref(f"{name}.{kind}Request"), **_example(said)},
        FORM: {"schema": ref(f"{name}.{kind}Form")},
    }
    if said["content_type"] != JSON:
        bodies[BYTES if _is_file(said) else said["content_type"]] = {"schema": _file(said)}
    answers: dict[str, Schema] = {JSON: {"schema": ref(f"{name}.{kind}")}}
    answers |= {each: {"schema": BINARY} for each in made["media_types"] if each != JSON}
    if kind == "Answer":
        answers |= {each: {"schema": _stream(name)} for each in streams(said)}
    return _operation(said, verb, "", bodies, answers)


def _v1(said: Description, verb: str, kind: str) -> Schema:
    """Several instances and answers, in KServe's v1."""
    name = said["name"]
    bodies = {JSON: {"schema": ref(f"{name}.{kind}sRequest")}}
    answers = {JSON: {"schema": ref(f"{name}.{kind}sResponse")}}
    return _operation(said, verb, "v1", bodies, answers)


def _v2(said: Description) -> Schema:
    """Tensors of the Open Inference Protocol."""
    name = said["name"]
    bodies = {JSON: {"schema": ref(f"{name}.TensorsRequest")}}
    answers = {JSON: {"schema": ref(f"{name}.TensorsResponse")}}
    return _operation(said, "predict", "v2", bodies, answers)


PROTOCOLS = {"": "", "v1": ", several at once (KServe v1)", "v2": ", as tensors (Open Inference)"}


def _operation(
    said: Description, verb: str, protocol: str, bodies: Schema, answers: Schema
) -> Schema:
    name, told = said["name"], json.dumps(said["input"], ensure_ascii=False, indent=2)
    failed = {
        status: {"$ref": f"#/components/responses/Status{status}"}
        for status in (*REFUSALS, *FAILURES)
    }
    return {
        "operationId": "_".join(part for part in (verb, protocol, name) if part),
        "summary": f"{verb.capitalize()}: {said['task']}{PROTOCOLS[protocol]}",
        "description": f"What the model takes:\n\n```json\n{told}\n```",
        "tags": [name],
        "parameters": [{"$ref": "#/components/parameters/RequestId"}],
        "requestBody": {"required": True, "content": bodies},
        "responses": {"200": {"description": "The answer.", "content": answers}, **failed},
    }


BINARY: Schema = {"type": "string", "format": "binary"}


def _stream(name: str) -> Schema:
    told = f"Where `stream` is asked for: lines, or events, each a JSON of {name}.Piece."
    return {"type": "string", "description": told}


def _is_file(said: Description) -> bool:
    """Whether an instance is a file of bytes, and no text."""
    return said["content_type"] != JSON and not said["content_type"].startswith("text/")


def _file(said: Description) -> Schema:
    """The schema of an instance as it is, outside of JSON."""
    return {**BINARY, "contentMediaType": said["content_type"]} if _is_file(said) else TEXT


TEXT: Schema = {"type": "string"}


def _form(said: Description, options: Options) -> Schema:
    """A form: the instance as one field or in its parts, and options.

    Where the parts have names, the whole instance can be one field of JSON, too.
    """
    fields = {name: field_of_a_form(schema) for name, schema in options["properties"].items()}
    if not said["parts"]:
        return obj({"data": _file(said)}, fields)
    kinds = dict.fromkeys(said["parts"], _file(said))
    one = {**_file(said), "description": "The instance; or else its parts, each a field."}
    return obj({}, {"data": one, **kinds, **fields})


def field_of_a_form(schema: Schema) -> Schema:
    """The schema of an option in a form's field, where a list is JSON in a string."""
    kinds = [each for each in schema.get("anyOf", [schema]) if each != NULL]
    kept = {key: each for key, each in schema.items() if key != "anyOf" and each is not None}
    if len(kinds) == 1 and kinds[0].get("type") in ("string", "integer", "number", "boolean"):
        return {**kept, **kinds[0]} if kinds[0] is not schema else kept
    return {**TEXT, "description": f"{schema.get('description', '')} In JSON.".strip()}


def _example(said: Description) -> Schema:
    """A model's own example in JSON, where it says one that isn't too long."""
    match said.get("example"):
        case {"content_type": str(kind), "body_base64": str(body)} if len(body) <= MOST_EXAMPLE:
            return {"example": _in_json(kind, body)}
    return {}


def _in_json(kind: str, body: str) -> object:
    """An example's body as JSON."""
    if kind == JSON:
        found = json.loads(b64decode(body))
        parameters = {key: found.pop(key) for key in ("parameters",) if key in found}
        return {"data": found.get("data", found), **parameters}
    return {"data": b64decode(body).decode("utf-8") if kind.startswith("text/") else body}


def obj(properties: Schema, optional: Schema | None = None) -> Schema:
    """The schema of an object; the properties are there, the optional ones may be."""
    every = {**properties, **(optional or {})}
    return {"type": "object", "properties": every, "required": list(properties)}
