"""Mean intersection over union: of `semantic_segmentation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from handlers.images import run_lengths
from marsmith.errors import BuildError


def measure(answers: Sequence[dict[str, Any]], expected: Sequence[Any]) -> float:
    """The mean over classes of their intersection over union in all images together, in [0, 1].

    Classes are those that are expected or answered anywhere.

    Args:
        answers: `height`, `width` and runs, `classes` and `lengths`.
        expected: of each image the class numbers of its pixels, row after row: runs, too, or a
            flat list.

    Raises:
        BuildError: the expected answers are neither, or have another number of pixels.

    See: J. Long et al., Fully Convolutional Networks for Semantic Segmentation, 2015, section 5.
    """
    pairs = zip(answers, expected, strict=True)
    table = sum(_table(_flat(answer), _flat(wanted)) for answer, wanted in pairs)
    shared = np.diag(table)
    either = table.sum(axis=0) + table.sum(axis=1) - shared
    return float((shared[either > 0] / either[either > 0]).mean())


def _table(answered: Any, wanted: Any) -> Any:
    """How many pixels are expected to be of each class (rows), and answered (columns)."""
    if answered.shape != wanted.shape:
        raise BuildError(f"{wanted.size} pixels are expected, and {answered.size} were answered")
    return np.bincount(wanted * 256 + answered, minlength=256 * 256).reshape(256, 256)


def _flat(image: Any) -> Any:
    try:
        if isinstance(image, dict):
            numbers = run_lengths.decode(image["classes"], image["lengths"])
        else:
            numbers = np.asarray(image)
        if numbers.ndim == 1 and numbers.dtype.kind in "iu" and not (numbers >> 8).any():
            return numbers.astype(np.int64)
    except (KeyError, ValueError, TypeError, OverflowError):
        pass
    raise BuildError(
        "mean_iou needs runs (classes and lengths), or flat lists of class numbers, 0 to 255"
    )
