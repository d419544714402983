"""OpenAI's routes of a server's models, as paths and schemas of OpenAPI.

A route is one path for all models that answer it; the body's `model` names the one that is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from handlers import tasks
from handlers.protocols import openai
from handlers.schema import json_schema
from marsmith.archive.operations import (
    AGAIN,
    BINARY,
    FAILURES,
    FORM,
    JSON,
    REFUSALS,
    TEXT,
    Description,
    Schema,
    field_of_a_form,
    obj,
    ref,
)

EVENTS = "text/event-stream"
STREAM = {**TEXT, "description": "With `stream`: server-sent events, each a piece in JSON."}
NULL_OR_TEXT = {"anyOf": [TEXT, {"type": "null"}]}
ERROR = obj(
    {"error": obj({"message": TEXT, "type": TEXT, "param": NULL_OR_TEXT, "code": NULL_OR_TEXT})}
)
"""What a refusal is there, also of the front's."""


def described(models: Sequence[Description]) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """The paths of the routes that any of the models answers, and the schemas that they refer to.

    Models of a task of one's own are left out: their code is not run to see what they answer.
    """
    paths: dict[str, Schema] = {}
    schemas: dict[str, Schema] = {}
    for path in openai.paths():
        route = openai.find(path)
        names = [said["name"] for said in models if route and _answers(said, path, route)]
        if route and names:
            name = "".join(part.capitalize() for part in path.split("/")[1:])
            schemas[f"{name}Request"] = _request(route, names)
            schemas[f"{name}Response"] = route.answer
            paths[f"/{path}"] = {"post": _operation(path, name, route)}
    return paths, {**schemas, "OpenAIError": ERROR} if schemas else {}


def _answers(said: Description, path: str, route: type[openai.Route]) -> bool:
    if said["task"] not in tasks.known():  # to find one of somebody's own is to run their code
        return False
    has = {each.name for each in fields(tasks.find(said["task"]).Answer)} >= set(route.needs)
    return has and ("chat" in said["input"] or not path.endswith("chat/completions"))


def _request(route: type[openai.Route], names: Sequence[str]) -> Schema:
    """What a body may hold; its `model` is one of those that answer here."""
    known: Any = json_schema(route.Fields)["properties"]
    properties = {**known, **route.typed, "model": {**TEXT, "enum": list(names)}}
    if route.form:
        properties = {key: field_of_a_form(each) for key, each in properties.items()}
        properties["file"] = {**BINARY, "description": "The recording."}
    needed = ("model", *(("file",) if route.form else route.typed))
    rest = {key: each for key, each in properties.items() if key not in needed}
    return obj({key: properties[key] for key in needed}, json.loads(json.dumps(rest)))


def _operation(path: str, name: str, route: type[openai.Route]) -> Schema:
    answers = {JSON: {"schema": ref(f"{name}Response")}}
    if "stream" in {each.name for each in fields(route.Fields)}:
        answers[EVENTS] = {"schema": STREAM}
    if route.form:
        answers["text/plain"] = {"schema": TEXT}
    return {
        "operationId": path.replace("/", "_"),
        "summary": (route.__doc__ or "").splitlines()[0],
        "tags": ["openai"],
        "parameters": [{"$ref": "#/components/parameters/RequestId"}],
        "requestBody": {
            "required": True,
            "content": {FORM if route.form else JSON: {"schema": ref(f"{name}Request")}},
        },
        "responses": {"200": {"description": "The answer.", "content": answers}, **dict(_failed())},
    }


def _failed() -> Iterator[tuple[str, Schema]]:
    said = {JSON: {"schema": ref("OpenAIError")}}
    seconds = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    for status, told in {**REFUSALS, **FAILURES}.items():
        headers = {"headers": seconds} if status in AGAIN else {}
        yield status, {"description": told, **headers, "content": said}
