"""Mean intersection over union: of `semantic_segmentation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from handlers.images import run_lengths
from marsmith.errors import BuildError

Classes = npt.NDArray[np.int64]


class Runs(TypedDict):
    """What is read of an answer: class numbers, and how many pixels in a row have each."""

    classes: Sequence[int]
    lengths: Sequence[int]


def measure(answers: Sequence[Runs], expected: Sequence[object]) -> float:
    """The mean over classes of intersection over union, of all images together, in [0, 1].

    Only classes that are expected or answered somewhere count.

    Args:
        answers: runs, `classes` and `lengths`.
        expected: for each image the class numbers of its pixels, row after row: runs or a flat
            list.

    Raises:
        BuildError: the expected answers are neither, or have another number of pixels.

    See: J. Long et al., Fully Convolutional Networks for Semantic Segmentation, 2015, section 5.
    """
    pairs = zip(answers, expected, strict=True)
    tables = (_table(_flat(answer), _flat(wanted)) for answer, wanted in pairs)
    table = sum(tables, np.zeros((256, 256), np.intp))
    shared = np.diag(table)
    either = table.sum(axis=0) + table.sum(axis=1) - shared
    return float((shared[either > 0] / either[either > 0]).mean())


def _table(answered: Classes, wanted: Classes) -> npt.NDArray[np.intp]:
    """The number of pixels by expected class (rows) and answered class (columns)."""
    if answered.shape != wanted.shape:
        raise BuildError(f"{wanted.size} pixels are expected, and {answered.size} were answered")
    return np.bincount(wanted * 256 + answered, minlength=256 * 256).reshape(256, 256)


def _flat(image: object) -> Classes:
    try:
        if isinstance(image, dict):
            numbers = run_lengths.decode(image["classes"], image["lengths"])
        else:
            numbers = np.asarray(image)
        if numbers.ndim == 1 and numbers.dtype.kind in "iu" and not (numbers >> 8).any():
            classes: Classes = numbers.astype(np.int64)
            return classes
    except (KeyError, ValueError, TypeError, OverflowError):
        pass
    raise BuildError(
        "mean_iou needs runs (classes and lengths), or flat lists of class numbers, 0 to 255"
    )
