"""How well embeddings find their like: of `image_embedding` and `text_embedding`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def measure(answers: Sequence[dict[str, Any]], expected: Sequence[str]) -> float:
    """The share of instances whose nearest other instance has the same label, in [0, 1].

    Args:
        answers: nearness is the dot product of their `embedding`.
        expected: the labels.
    """
    vectors = np.array([answer["embedding"] for answer in answers], dtype=np.float64)
    nearness = vectors @ vectors.T
    np.fill_diagonal(nearness, -np.inf)
    labels = np.array(expected)
    return float((labels[nearness.argmax(axis=1)] == labels).mean())
