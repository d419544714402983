"""Image embedding: an image in, a vector out whose dot products say how alike images are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from handlers import vectors
from handlers.images import handler
from handlers.images.pixels import Placement
from handlers.runtimes import Tensors
from handlers.schema import setting
from handlers.task import Answer, NoOptions, Sample


@dataclass(frozen=True, kw_only=True)
class ImageEmbeddingConfig(handler.ImageConfig):
    """How an image becomes the model's input, and the model's answer a vector."""

    normalise: bool = setting(True, "Scale every vector to length 1.")


@dataclass(frozen=True)
class ImageVector(Answer):
    """An image's vector."""

    embedding: list[float]


class ImageEmbedding(handler.ImageHandler[ImageEmbeddingConfig, NoOptions]):
    """Embeds images; the model answers (N, D) vectors, or (N, D, H, W) maps, which are averaged."""

    Config = ImageEmbeddingConfig
    Answer = ImageVector

    def answer(
        self, outputs: Tensors, samples: Sequence[Sample[NoOptions, Placement]]
    ) -> list[ImageVector]:
        """Answer one vector per image."""
        found = next(iter(outputs.values()))
        pooled: torch.Tensor = found.mean(dim=(2, 3)) if found.ndim == 4 else found
        finished = vectors.finish(pooled, normalise=self.config.normalise)
        return [ImageVector(vector) for vector in finished]
