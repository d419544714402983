"""Text embedding: a text in, a vector out whose dot products say how alike texts are.

A text may come with others, and is then compared with them. Models that are trained with prompts
get one before each text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from handlers import vectors
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, kind, object_schema, setting, unknown
from handlers.task import Answer, Sample
from handlers.text import text
from handlers.text.handler import TextHandler, length
from handlers.text.tokens import Encoded

MAX_PROMPT = 2000  # characters; a request may have it before a thousand texts
HINT = 'send {"text": "...", "compare_with": ["...", "..."]}'


@dataclass(frozen=True, kw_only=True)
class TextEmbeddingConfig(text.TextConfig):
    """How a text becomes tokens, and the model's answer a vector."""

    pooling: Literal["mean", "cls"] = setting(
        "mean", "How the states of tokens become one vector, if the model doesn't do it."
    )
    normalise: bool = setting(True, "Scale every vector to length 1.")
    max_compared: int = setting(64, "The most texts to compare one with.", minimum=1)
    similarity: vectors.Similarity = setting("cosine", "How alike two vectors are.")
    prompts: dict[str, str] | None = setting(None, "What may stand before a text, by name.")
    default_prompt_name: str | None = setting(
        None, "The prompt of requests that say none; without it, these have none."
    )
    exclude_prompt: bool = setting(
        False,
        "The model takes `pooled`, too, (N, T) int64: 1 for tokens that its vector is made of, 0 "
        "for those of the prompt.",
    )


@dataclass(frozen=True, kw_only=True)
class TextEmbeddingOptions(text.TextOptions):
    """The options of a request."""

    prompt: str | None = setting(
        None, "What stands before every text; 'prompt_name' is then of no account."
    )
    prompt_name: str | None = setting(None, "The name of one of the model's prompts.")
    compared_prompt_name: str | None = setting(
        None, "That of the texts to compare with; by default they have the same prompt."
    )


@dataclass(frozen=True)
class TextVector(Answer):
    """A text's vector, how many tokens the model was given, and whether a text was cut."""

    embedding: list[float]
    tokens: int
    truncated: bool

    @classmethod
    def schema(cls) -> JsonObject:
        """An object; it has similarities when the text is compared."""
        similarities: JsonObject = {"type": "array", "items": {"type": "number"}}
        return object_schema(cls.field_schemas(), {"similarities": similarities})


@dataclass(frozen=True)
class Comparison(TextVector):
    """A text's vector, and how alike it is to those of the texts it is compared with."""

    similarities: list[float]


@dataclass(frozen=True)
class Texts:
    """A text and those that it is compared with, as far as the answer needs them.

    Attributes:
        lengths: how many tokens each text has.
        truncated: whether one of them was cut.
        compared: whether they are to be compared; there may be no other to compare with.
    """

    lengths: list[int]
    truncated: bool
    compared: bool


_Sample = Sample[TextEmbeddingOptions, Texts]


class TextEmbedding(TextHandler[TextEmbeddingConfig, TextEmbeddingOptions, Texts]):
    """Embeds texts; the model answers (N, D) vectors, or the states of tokens, (N, T, D).

    An instance is a string, or bytes of UTF-8; or an object of a "text" and what to
    "compare_with", a list of texts.
    """

    Config = TextEmbeddingConfig
    Options = TextEmbeddingOptions
    Answer = TextVector
    parts = ("text", "compare_with")

    def setup(self, folder: Path) -> None:
        """Read the tokenizer, and check the prompts."""
        super().setup(folder)
        self.prompts, default = self.config.prompts or {}, self.config.default_prompt_name
        for name, prompt in self.prompts.items():
            if not isinstance(prompt, str):
                raise LoadError(f"the prompt {name!r} must be a string, not {kind(prompt)}")
        if default is not None and default not in self.prompts:
            raise LoadError(unknown(default, [*self.prompts], "'default_prompt_name'"))

    def screen(self, instances: Sequence[object]) -> None:
        """Refuse a request of more than `max_characters`, or of too many texts to compare with."""
        super().screen(instances)
        lists = [each.get("compare_with") for each in instances if isinstance(each, Mapping)]
        count = sum(len(each) for each in lists if isinstance(each, list))
        if count > self.config.max_instances:
            raise BadRequest(
                f"{count} texts to compare with in one request; at most "
                f"{self.config.max_instances} are allowed",
                status=413,
            )

    def decode(self, instance: object, options: TextEmbeddingOptions) -> _Sample:
        """Convert a text and those to compare it with to tokens, a row each: (1 + others, T)."""
        one, others = _read(instance)
        if others is not None and len(others) > self.config.max_compared:
            raise BadRequest(
                f"{len(others)} texts to compare with; at most {self.config.max_compared} are "
                "allowed",
                status=413,
            )
        prompts = self._prompts(options)
        found = [self._encoded(prompts[0], one, options.truncate)]
        found += [self._encoded(prompts[1], each, options.truncate) for each in others or ()]
        rows = [each.tensors for each in found]
        truncated = any(each.tokens.truncated for each in found)
        meta = Texts([length(row) for row in rows], truncated, others is not None)
        return Sample(self.encoder.pad(rows), options, meta)

    def _prompts(self, options: TextEmbeddingOptions) -> tuple[str, str]:
        """What stands before the text, and before those that it is compared with."""
        name = options.prompt_name
        name = self.config.default_prompt_name if name is None else name
        own = self._named(name) if options.prompt is None else text.read(options.prompt)
        if len(own) > MAX_PROMPT:
            raise BadRequest(
                f"the prompt has {len(own)} characters; at most {MAX_PROMPT} are allowed",
                status=413,
            )
        compared = options.compared_prompt_name
        return own, own if compared is None else self._named(compared)

    def _named(self, name: str | None) -> str:
        if name is not None and name not in self.prompts:
            raise BadRequest(unknown(name, [*self.prompts], "the model's prompts"), status=422)
        return "" if name is None else self.prompts[name]

    def _encoded(self, prompt: str, one: str, truncate: bool) -> Encoded:
        found = self.encoder.encode(prompt + one, truncate=truncate)
        if self.config.exclude_prompt:
            pooled = torch.ones_like(found.tensors["input_ids"])
            pooled[: self.encoder.leading(prompt) if prompt else 0] = 0
            if not pooled.any():
                raise BadRequest("the prompt leaves no token of the text", status=422)
            found.tensors["pooled"] = pooled
        return found

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axis of the length, which differs from batch to batch."""
        pooled: dict[str, tuple[int, ...]] = {"pooled": (1,)} if self.config.exclude_prompt else {}
        return super().varying_axes() | pooled

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[TextVector]:
        """Answer one vector per text: pooled if the model hasn't, and normalised if wanted."""
        lengths = [length for sample in samples for length in sample.meta.lengths]
        found = next(iter(outputs.values())).float()
        pooled = _pool(found, lengths, self.config.pooling) if found.ndim == 3 else found
        finished = vectors.finish(pooled, normalise=self.config.normalise)
        if len(finished) != len(lengths):
            raise ModelError(f"{len(lengths)} texts gave {len(finished)} vectors")
        answers: list[TextVector] = []
        first = 0
        for sample in samples:
            meta, last = sample.meta, first + len(sample.meta.lengths)
            said = finished[first], meta.lengths[0], meta.truncated
            if meta.compared:
                alike = vectors.alike(
                    pooled[first], pooled[first + 1 : last], self.config.similarity
                )
                answers.append(Comparison(*said, alike))
            else:
                answers.append(TextVector(*said))
            first = last
        return answers

    def instance_schema(self) -> JsonObject:
        """A text, or one and those that it is compared with."""
        compared = {"compare_with": text.list_schema(self.config.max_compared)}
        return {"anyOf": [text.SCHEMA, object_schema({"text": text.SCHEMA}, compared)]}

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be."""
        return {
            **super().describe_input(),
            "comparison": '{"text": "...", "compare_with": ["...", "..."]}',
            "max_compared": self.config.max_compared,
            "prompts": dict(self.prompts),
        }


def _read(instance: object) -> tuple[str, list[str] | None]:
    """Read a text, and those to compare it with, if there are any."""
    if not isinstance(instance, Mapping):
        return text.read(instance), None
    one, others = text.parts_of(instance, TextEmbedding.parts)
    if one is None:
        raise BadRequest("the instance has no 'text'", hint=HINT)
    compared = None if others is None else text.read_list(others, "compare_with", HINT)
    return text.read(one), compared


def _pool(states: torch.Tensor, lengths: Sequence[int], pooling: str) -> torch.Tensor:
    """Pool the states of tokens, (N, T, D), to vectors, (N, D); padding does not count."""
    if pooling == "cls":
        return states[:, 0]
    counts = torch.tensor(lengths)[:, None]
    kept = torch.arange(states.shape[1]) < counts
    return torch.where(kept[..., None], states, 0.0).sum(dim=1) / counts
