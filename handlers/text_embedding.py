"""Text embedding: a text in, a vector out whose dot products say how alike texts are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from handlers import base, batching, payload
from handlers.batching import Sample
from handlers.inputs import text
from handlers.outputs import vectors
from handlers.runtimes import Tensors
from handlers.schema import setting


@dataclass(frozen=True, kw_only=True)
class Config(text.Config):
    """How a text becomes tokens, and what the model answers becomes a vector."""

    pooling: Literal["mean", "cls"] = setting(
        "mean", "How the states of tokens become one vector, if the model hasn't done it."
    )
    normalise: bool = setting(True, "Scale every vector to length 1.")


@dataclass(frozen=True)
class Embedding(payload.Answer):
    """A text's vector, how many tokens the model was given, and whether the text was cut."""

    embedding: list[float]
    tokens: int
    truncated: bool


class TextEmbedding(base.Handler[Config]):
    """Embeds texts; the model answers (N, D) vectors, or the states of tokens, (N, T, D).

    An instance is a string, or bytes of UTF-8. The model takes input_ids and attention_mask,
    (N, T) int64, and token_type_ids if the settings say so.
    """

    Config = Config
    Options = text.Options
    Answer = Embedding

    def setup(self, folder: Path) -> None:
        """Read the tokenizer."""
        self.encoder = text.Encoder(folder / self.config.tokenizer, self.config)

    def screen(self, instances: Sequence[Any]) -> None:
        """Refuse a request of more than `max_characters`."""
        text.check_together(instances, max_characters=self.config.max_characters)

    def decode(self, instance: Any, options: Any) -> Sample:
        """One text to its tokens."""
        return self.encoder.encode(text.read(instance), options)

    def group_key(self, sample: Sample) -> Hashable:
        """Texts of about one length share a batch: padding is work, too."""
        return batching.similar_length(text.length(sample))

    def collate(self, samples: Sequence[Sample]) -> Tensors:
        """Tokens to (N, T) int64, padded to the longest."""
        return self.encoder.pad(samples)

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The length differs from batch to batch."""
        return self.encoder.varying_axes

    def answer(self, outputs: Tensors, samples: Sequence[Sample]) -> list[payload.Answer]:
        """One vector per text: pooled if it is yet to be, normalised if it shall be."""
        lengths = [text.length(sample) for sample in samples]
        found = next(iter(outputs.values())).float()
        pooled = _pool(found, lengths, self.config.pooling) if found.ndim == 3 else found
        finished = vectors.finish(pooled, normalise=self.config.normalise)
        return [
            Embedding(vector, tokens, sample.meta.truncated)
            for vector, tokens, sample in zip(finished, lengths, samples, strict=True)
        ]

    def example(self) -> tuple[str, bytes]:
        """A sentence."""
        return "text/plain", b"A model is only as useful as the people who can ask it something."

    def describe_input(self) -> dict[str, Any]:
        """What an instance may be."""
        return {
            "text": "a string, or UTF-8 bytes",
            "max_tokens": self.config.max_tokens,
            "max_characters": self.config.max_characters,
        }


def _pool(states: torch.Tensor, lengths: Sequence[int], pooling: str) -> torch.Tensor:
    """The states of tokens, (N, T, D), to one vector each, (N, D); what is padded counts not."""
    if pooling == "cls":
        return states[:, 0]
    counts = torch.tensor(lengths)[:, None]
    kept = torch.arange(states.shape[1]) < counts
    return torch.where(kept[..., None], states, 0.0).sum(dim=1) / counts
