"""What a task takes and answers, from the definitions that validate requests: plain JSON data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from handlers import payload, tensors
from handlers.explanations import Explainer
from handlers.schema import json_schema

if TYPE_CHECKING:
    from handlers.base import Handler


def of(handler: Handler[Any]) -> dict[str, Any]:
    """The interface of a configured handler; it needs no model.

    Returns:
        "protocols", "max_instances", "input" (for people), "options" and "output" (JSON
        Schemas), "columns" (the names of a v2 answer's outputs), "media_types", and
        "explanations": the latter four of its explanations; empty where there are none.
    """
    explained = {}
    if isinstance(handler, Explainer):
        explained = {"options": json_schema(handler.ExplainOptions)} | _answers(handler.Explanation)
    return {
        "protocols": list(get_args(payload.Protocol)),
        "max_instances": handler.config.max_instances,
        "input": handler.describe_input(),
        "options": json_schema(handler.Options, handler.config.defaults or {}),
        **_answers(handler.Answer),
        "explanations": explained,
    }


def _answers(kind: type[payload.Answer]) -> dict[str, Any]:
    return {
        "output": kind.schema(),
        "columns": tensors.names(kind),
        "media_types": [payload.JSON, *kind.media_types],
    }
