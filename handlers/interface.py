"""What a task takes and answers, from the definitions that validate requests: plain JSON data."""

from __future__ import annotations

from typing import Any, get_args

from handlers.explanations import Explainer
from handlers.protocols import payload, tensors
from handlers.schema import json_schema
from handlers.task import Answer, Task


def of(task: Task[Any, Any, Any], explainer: Explainer[Any] | None) -> dict[str, Any]:
    """The interface of a configured task; it needs no model.

    Args:
        task: what is described.
        explainer: what explains its answers, if anything does.

    Returns:
        "protocols", "max_instances", "input" (for people), "options" and "output" (JSON
        Schemas), "columns" (the names of a v2 answer's outputs), "media_types", and
        "explanations": the latter four of its explanations; empty where there are none.
    """
    explained = {}
    if explainer:
        options = json_schema(explainer.ExplainOptions)
        explained = {"options": options} | _answers(explainer.Explanation)
    return {
        "protocols": list(get_args(payload.Protocol)),
        "max_instances": task.config.max_instances,
        "input": task.describe_input(),
        "options": json_schema(task.Options, task.config.defaults or {}),
        **_answers(task.Answer),
        "explanations": explained,
    }


def _answers(kind: type[Answer]) -> dict[str, Any]:
    return {
        "output": kind.schema(),
        "columns": tensors.names(kind),
        "media_types": [payload.JSON, *kind.media_types],
    }
