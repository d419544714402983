"""How well embeddings find others of their label: of `image_embedding`, `text_embedding`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def measure(answers: Sequence[Mapping[str, Sequence[float]]], expected: Sequence[str]) -> float:
    """The share of instances whose nearest other instance has the same label, in [0, 1].

    Args:
        answers: with `embedding`; nearness is the dot product.
        expected: the labels.
    """
    vectors = np.array([answer["embedding"] for answer in answers], dtype=np.float64)
    nearness = vectors @ vectors.T
    np.fill_diagonal(nearness, -np.inf)
    labels = np.array(expected)
    return float((labels[nearness.argmax(axis=1)] == labels).mean())
