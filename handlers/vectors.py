"""Embeddings: vectors whose dot products say how alike things are."""

from __future__ import annotations

from typing import Literal

import torch

from handlers.errors import ModelError

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]

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


def alike(one: torch.Tensor, others: torch.Tensor, by: Similarity = "cosine") -> list[float]:
    """How alike one vector, (D,), is to others, (M, D): more is more alike.

    Args:
        one: the vector.
        others: those that it is compared with.
        by: the cosine, 1 for equal directions; the dot product; or minus a distance, 0 for equal
            vectors.
    """
    one, others = one.double(), others.double()
    if by == "cosine":
        cosines = torch.nn.functional.cosine_similarity(one[None], others)
        likeness = cosines.clamp(-1, 1).round(decimals=DECIMALS)
    elif by == "dot":
        likeness = others @ one
    else:
        likeness = -(others - one).norm(p=1 if by == "manhattan" else 2, dim=1)
    found: list[float] = likeness.tolist()
    return found
