"""Embeddings: vectors whose dot products say how alike things are."""

from __future__ import annotations

import torch

from handlers.errors import ModelError

DECIMALS = 7  # of numbers in [-1, 1]; float32 has no more, and JSON would write 17


def finish(vectors: torch.Tensor, *, normalise: bool) -> list[list[float]]:
    """Finish a batch of embeddings: scale and round them, one list of numbers each.

    Args:
        vectors: (N, D).
        normalise: scale every vector to length 1.

    Raises:
        ModelError: the model's pooled answer has another shape.
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
    """The cosines of one vector, (D,), with others, (M, D): 1 for equal directions."""
    alike = torch.nn.functional.cosine_similarity(one[None].double(), others.double())
    found: list[float] = alike.clamp(-1, 1).round(decimals=DECIMALS).tolist()
    return found
