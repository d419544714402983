"""Run-length encoding: equal neighbours are written once, with their count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def encode(numbers: NDArray[np.integer]) -> tuple[list[int], list[int]]:
    """Encode a flat array as runs.

    Args:
        numbers: (K,) integers, at least one.

    Returns:
        The number of each run, and its length, which is at least 1.
    """
    starts = np.concatenate([[0], np.flatnonzero(numbers[1:] != numbers[:-1]) + 1])
    lengths = np.diff(starts, append=len(numbers))
    return numbers[starts].tolist(), lengths.tolist()


def decode(numbers: Sequence[int], lengths: Sequence[int]) -> NDArray[np.int64]:
    """Decode runs to a flat int64 array."""
    return np.repeat(np.asarray(numbers, dtype=np.int64), np.asarray(lengths, dtype=np.int64))
