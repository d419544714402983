"""Image embedding: an image in, a vector out whose dot products say how alike images are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from handlers import image_handler, payload
from handlers.batching import Sample
from handlers.outputs import vectors
from handlers.runtimes import Tensors
from handlers.schema import setting


@dataclass(frozen=True, kw_only=True)
class Config(image_handler.Config):
    """How an image becomes the model's input, and what the model answers becomes a vector."""

    normalise: bool = setting(True, "Scale every vector to length 1.")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a request may ask for: nothing yet."""


@dataclass(frozen=True)
class Embedding(payload.Answer):
    """An image's vector."""

    embedding: list[float]


class ImageEmbedding(image_handler.ImageHandler[Config]):
    """Embeds images; the model answers (N, D) vectors, or (N, D, H, W) maps, which are averaged."""

    Config = Config
    Options = Options
    Answer = Embedding

    def answer(self, outputs: Tensors, samples: Sequence[Sample]) -> list[payload.Answer]:
        """One vector per image."""
        found = next(iter(outputs.values()))
        pooled: torch.Tensor = found.mean(dim=(2, 3)) if found.ndim == 4 else found
        finished = vectors.finish(pooled, normalise=self.config.normalise)
        return [Embedding(vector) for vector in finished]
