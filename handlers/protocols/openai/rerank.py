"""`v1/rerank`: documents by their relevance to a query, as Cohere's and Jina's clients ask.

See: https://docs.cohere.com/reference/rerank and https://api.jina.ai/redoc.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.protocols.openai import (
    COUNT,
    NUMBER,
    TEXT,
    Asked,
    FieldError,
    Route,
    RouteFields,
    several,
    shape,
)
from handlers.schema import JsonObject, setting


@dataclass(frozen=True, kw_only=True)
class RerankFields(RouteFields):
    """What a body may hold."""

    query: str | None = setting(None, "What is asked.")
    documents: tuple[str | dict[str, object], ...] = setting(
        (), "Texts, or objects that have a 'text'."
    )
    top_n: int | None = setting(None, "How many documents to answer; by default all.", minimum=1)
    return_documents: bool | None = setting(None, "Answer the documents' texts, too.")


class Rerank(Route):
    """Ranks documents; those of too many tokens are cut."""

    Fields = RerankFields
    needs = ("indices", "scores", "tokens")
    typed = {
        "query": TEXT,
        "documents": {**several({"anyOf": [TEXT, shape(text=TEXT)]}), "minItems": 1},
    }
    answer = shape(
        id=TEXT,
        model=TEXT,
        results=several(
            shape("document", index=COUNT, relevance_score=NUMBER, document=shape(text=TEXT))
        ),
        usage=shape(prompt_tokens=COUNT, total_tokens=COUNT),
    )

    def asked(self, known: Collection[str]) -> Asked:
        """The query with its documents."""
        if self.body.query is None:
            raise FieldError("the request has no 'query'", param="query", hint="send a string")
        given = {name: getattr(self.body, name) for name in ("top_n", "return_documents")}
        options = {name: value for name, value in given.items() if value is not None}
        instance = {"query": self.body.query, "documents": list(self.body.documents)}
        return Asked([instance], options)

    def write(self, answers: Sequence[Any]) -> JsonObject:
        """Write the results, best first."""
        (answer,) = answers
        results: list[dict[str, Any]] = [
            {"index": index, "relevance_score": score}
            for index, score in zip(answer.indices, answer.scores, strict=True)
        ]
        for result, text in zip(results, getattr(answer, "documents", ()), strict=False):
            result["document"] = {"text": text}
        return {
            "id": self.identity,
            "model": self.model,
            "results": results,
            "usage": {"prompt_tokens": answer.tokens, "total_tokens": answer.tokens},
        }
