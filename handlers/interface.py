"""What a task takes and answers, from the definitions that validate requests: plain JSON data."""

from __future__ import annotations

from typing import TypedDict, get_args

from handlers.explanations import Explainer
from handlers.protocols import json_text, parsed_request, tensors
from handlers.schema import JsonObject, json_schema
from handlers.task import Answer, C, M, O, Task


class AnswerInterface(TypedDict):
    """What is answered to a request.

    Attributes:
        output: the JSON Schema of an answer.
        columns: the names of a v2 answer's outputs.
        media_types: what an answer can be written in.
    """

    output: JsonObject
    columns: list[str]
    media_types: list[str]


class Interface(AnswerInterface):
    """The interface of a task.

    Attributes:
        protocols: those that it is served in.
        max_instances: the most instances in one request.
        input: what an instance may be, for people.
        instance: the JSON Schema of an instance in JSON.
        parts: the names of a form's fields that make up an instance; none where it is one field.
        options: the JSON Schema of a request's options.
        explanations: the interface of its explanations; empty where there are none.
    """

    protocols: list[str]
    max_instances: int
    input: dict[str, object]
    instance: JsonObject
    parts: list[str]
    options: JsonObject
    explanations: dict[str, object]


def of(task: Task[C, O, M], explainer: Explainer[M] | None) -> Interface:
    """The interface of a configured task; it needs no model.

    Args:
        task: what is described.
        explainer: what explains its answers, if anything does.
    """
    explained: dict[str, object] = {}
    if explainer:
        options = json_schema(explainer.ExplainOptions)
        explained = {"options": options, **_answers(explainer.Explanation)}
    return {
        "protocols": list(get_args(parsed_request.Protocol)),
        "max_instances": task.config.max_instances,
        "input": task.describe_input(),
        "instance": task.instance_schema(),
        "parts": list(task.parts),
        "options": json_schema(task.Options, task.config.defaults or {}),
        **_answers(task.Answer),
        "explanations": explained,
    }


def _answers(kind: type[Answer]) -> AnswerInterface:
    return {
        "output": kind.schema(),
        "columns": tensors.names(kind),
        "media_types": [json_text.JSON, *kind.media_types],
    }
