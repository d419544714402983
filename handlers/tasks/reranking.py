"""Reranking: a query and documents in, the documents out in the order of their relevance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from handlers.errors import BadRequest, ModelError
from handlers.protocols import json_text
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, kind, object_schema, setting
from handlers.task import Answer, Sample
from handlers.text import pairs, text
from handlers.text.cutting import Truncation
from handlers.text.pairs import Pairs, PairsHandler

PARTS = ("query", "documents")
DECIMALS = 4  # of logits, by which documents are ranked
WHAT = "a query needs documents, and both are JSON"
HINT = 'send {"query": "...", "documents": ["...", "..."]}'


@dataclass(frozen=True, kw_only=True)
class RerankingConfig(text.TextConfig):
    """How a query and a document become tokens, and a logit their score."""

    activation: Literal["sigmoid", "none"] = setting(
        "sigmoid", "How a logit becomes a score; none for scores in any range."
    )
    prompt: str = setting("", "What stands before every query.")
    truncation: Truncation = setting(
        "longest_first", "Which of the two is cut where both are too long."
    )
    max_documents: int = setting(1000, "The most documents of one query.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class RerankingOptions(text.TextOptions):
    """The options of a request."""

    top_n: int | None = setting(None, "How many documents to answer; by default all.", minimum=1)
    return_documents: bool = setting(False, "Answer the documents' texts, too.")


@dataclass(frozen=True)
class Relevance(Answer):
    """The most relevant documents, best first, by their places in the request, and their scores.

    `tokens` is how many the model was given; `truncated` says that of some pair there were more.
    """

    indices: list[int]
    scores: list[float]
    tokens: int
    truncated: bool

    ragged: ClassVar[Mapping[str, tuple[int, ...]]] = dict.fromkeys(("indices", "scores"), ())

    def results(self) -> list[JsonObject]:
        """An object for each document."""
        pairs_ = zip(self.indices, self.scores, strict=True)
        return [{"index": index, "score": score} for index, score in pairs_]

    def to_json(self) -> JsonObject:
        """The results, and how much was read."""
        return {"results": self.results(), "tokens": self.tokens, "truncated": self.truncated}

    @classmethod
    def schema(cls) -> JsonObject:
        """An object with a list of results; they have the document when it is asked for."""
        index: JsonObject = {"type": "integer", "minimum": 0}
        item = object_schema(
            {"index": index, "score": {"type": "number"}}, {"document": {"type": "string"}}
        )
        return object_schema(
            {
                "results": {"type": "array", "items": item},
                "tokens": {"type": "integer", "minimum": 1},
                "truncated": {"type": "boolean"},
            }
        )


@dataclass(frozen=True)
class RelevantDocuments(Relevance):
    """The most relevant documents, with their texts."""

    documents: list[str]

    ragged: ClassVar[Mapping[str, tuple[int, ...]]] = dict.fromkeys(
        ("indices", "scores", "documents"), ()
    )

    def results(self) -> list[JsonObject]:
        """An object for each document, with its text."""
        found = zip(super().results(), self.documents, strict=True)
        return [{**each, "document": document} for each, document in found]


_Sample = Sample[RerankingOptions, Pairs]


class Reranking(PairsHandler[RerankingConfig, RerankingOptions]):
    """Ranks documents by a query; the model answers one logit for each pair, (N,) or (N, 1).

    An instance is an object of a "query" and "documents", a list of texts or of objects that have
    a "text". Documents are ranked by their logits, which say more than scores near 0 or 1; those
    whose logits are the same, to four decimals, stay in the request's order.
    """

    Config = RerankingConfig
    Options = RerankingOptions
    Answer = Relevance
    parts = PARTS

    def repeated(self, instance: object) -> tuple[str, int]:
        """The prompt and the query, and the number of documents."""
        try:
            query, documents = _read(instance)
        except BadRequest:  # `decode` refuses it, or knows what it is
            return "", 0
        return self.config.prompt + query, len(documents)

    def decode(self, instance: object, options: RerankingOptions) -> _Sample:
        """Convert a query with each of the documents to tokens, a row each."""
        query, documents = _read(instance)
        if len(documents) > self.config.max_documents:
            raise BadRequest(
                f"{len(documents)} documents; at most {self.config.max_documents} are allowed",
                status=413,
            )
        asked = self.config.prompt + query
        tensors, found = self.encoded(
            [(asked, each) for each in documents],
            documents,
            truncate=options.truncate,
            truncation=self.config.truncation,
        )
        return Sample(tensors, options, found)

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[Relevance]:
        """Rank the documents of each query, and take the `top_n` of them."""
        found = pairs.logits(outputs, samples)
        if found[0].shape[1] != 1:
            raise ModelError(f"the model must answer one logit, not {found[0].shape[1]}")
        return [
            self._ranked(each[:, 0], sample) for each, sample in zip(found, samples, strict=True)
        ]

    def _ranked(self, logits: torch.Tensor, sample: _Sample) -> Relevance:
        if not logits.isfinite().all():
            raise ModelError("the model's answer is not finite", hint="check the input")
        order = logits.double().round(decimals=DECIMALS).argsort(descending=True, stable=True)
        order = order[: sample.options.top_n]
        scores = torch.sigmoid(logits) if self.config.activation == "sigmoid" else logits
        places, meta = order.tolist(), sample.meta
        said = places, scores[order].tolist(), meta.tokens, meta.truncated
        if sample.options.return_documents:
            return RelevantDocuments(*said, [meta.texts[place] for place in places])
        return Relevance(*said)

    def example(self) -> tuple[str, bytes]:
        """A query, and two documents."""
        documents = ["Ada Lovelace wrote the first program, in 1843.", "It rains in the spring."]
        body = {"query": "who wrote the first program?", "documents": documents}
        return json_text.JSON, json_text.dump(body)

    def instance_schema(self) -> JsonObject:
        """A query and its documents."""
        documents = text.list_schema(self.config.max_documents)
        return object_schema({PARTS[0]: text.SCHEMA, PARTS[1]: documents})

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be, and how much of it is read."""
        found = super().describe_input() | {"max_documents": self.config.max_documents}
        del found["text"]
        return {"documents": '{"query": "...", "documents": ["...", "..."]}', **found}


def _read(instance: object) -> tuple[str, list[str]]:
    """Read a query and its documents."""
    instance = text.parsed(instance, WHAT, HINT)
    if not isinstance(instance, Mapping):
        raise BadRequest(f"the instance must be an object, not {kind(instance)}", hint=HINT)
    query, given = text.parts_of(instance, PARTS)
    if query is None or given is None:
        raise BadRequest(f"the instance has no {PARTS[0 if query is None else 1]!r}", hint=HINT)
    documents = text.read_list(given, "documents", HINT)
    if not documents:
        raise BadRequest("there are no documents", hint=HINT, status=422)
    return text.read(query), documents
