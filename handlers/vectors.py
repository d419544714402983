"""Embeddings: what a model answers, as vectors whose dot products say how alike things are."""

from __future__ import annotations

import torch

from handlers.errors import ModelError

DECIMALS = 7  # of numbers in [-1, 1]; float32 has no more, and JSON would write 17


def finish(vectors: torch.Tensor, *, normalise: bool) -> list[list[float]]:
    """One list of numbers for each of a batch.

    Args:
        vectors: (N, D).
        normalise: scale every vector to length 1.

    Raises:
        ModelError: the model's answer, pooled, is not of that shape.
    """
    if vectors.ndim != 2:
        raise ModelError(f"an embedding is (N, D), this one is {tuple(vectors.shape)}")
    vectors = vectors.float()
    if normalise:
        unit = torch.nn.functional.normalize(vectors, dim=1)
        vectors = unit.double().round(decimals=DECIMALS)
    found: list[list[float]] = vectors.tolist()
    return found


def cosines(one: torch.Tensor, others: torch.Tensor) -> list[float]:
    """How alike one vector, (D,), is to others, (M, D): 1 of one direction, -1 of opposites."""
    alike = torch.nn.functional.cosine_similarity(one[None].double(), others.double())
    found: list[float] = alike.clamp(-1, 1).round(decimals=DECIMALS).tolist()
    return found
