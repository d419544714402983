"""`v1/embeddings`: a vector for each text."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from handlers.protocols.openai import (
    COUNT,
    NO_NUMBERS,
    NUMBER,
    TEXT,
    TEXTS,
    Asked,
    FieldError,
    Route,
    RouteFields,
    const,
    several,
    shape,
    texts_of,
)
from handlers.schema import Json, JsonObject, setting


@dataclass(frozen=True, kw_only=True)
class EmbeddingFields(RouteFields):
    """What a body may hold."""

    input: str | tuple[str, ...] = setting((), "A text, or a list of texts.")
    encoding_format: Literal["float", "base64"] | None = setting(
        None, "Numbers, the default, or the bytes of float32, little-endian, in base64."
    )
    dimensions: int | None = setting(None, "How many numbers; those that the model has.", minimum=1)


class Embeddings(Route):
    """Embeds texts; one of too many tokens is refused, because OpenAI has no word for a cut."""

    Fields = EmbeddingFields
    needs = ("embedding", "tokens")
    typed = {"input": TEXTS}
    answer = shape(
        object=const("list"),
        data=several(
            shape(
                object=const("embedding"), index=COUNT,
                embedding={"anyOf": [several(NUMBER), TEXT]},
            )
        ),
        model=TEXT,
        usage=shape(prompt_tokens=COUNT, total_tokens=COUNT),
    )  # fmt: skip
    hints = {"input": NO_NUMBERS}

    def asked(self, known: Collection[str]) -> Asked:
        """The texts."""
        texts = texts_of(self.body.input, "input")
        return Asked(texts, {"truncate": False} if "truncate" in known else {})

    def write(self, answers: Sequence[Any]) -> JsonObject:
        """Write a list of vectors, in the order of the texts."""
        size = len(answers[0].embedding)
        if self.body.dimensions not in (None, size):
            raise FieldError(
                f"'dimensions' must be {size}, which is what {self.model} has", param="dimensions"
            )
        encode = _in_base64 if self.body.encoding_format == "base64" else list
        tokens = sum(answer.tokens for answer in answers)
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": encode(answer.embedding)}
                for index, answer in enumerate(answers)
            ],
            "model": self.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }


def _in_base64(vector: Sequence[float]) -> Json:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode("ascii")
