"""Boxes: their formats, and which of them are around the same object."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

Format = Literal["xyxy", "cxcywh"]
Units = Literal["pixels", "fraction"]
Floats = NDArray[np.float64]

MAX_CANDIDATES = 2000  # of an image's scores, the highest; others are never an object


def to_corners(
    boxes: torch.Tensor, form: Format, units: Units, size: tuple[int, int]
) -> torch.Tensor:
    """Convert boxes of any format to left, top, right, bottom, in pixels.

    Args:
        boxes: (..., 4) float32; "xyxy" are corners, "cxcywh" a centre, a width and a height.
        form: which of these.
        units: pixels, or fractions of the image's width and height.
        size: the image's (width, height).
    """
    if form == "cxcywh":
        centres, halves = boxes[..., :2], boxes[..., 2:] / 2
        boxes = torch.cat([centres - halves, centres + halves], dim=-1)
    if units == "fraction":
        boxes = boxes * torch.tensor(size * 2, dtype=boxes.dtype)
    return boxes


def candidates(scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Choose the scores of an image that count: at most MAX_CANDIDATES, the best first.

    Args:
        scores: (K,) float32, finite.
        threshold: the lowest that counts; 0 and below never do.

    Returns:
        (<= MAX_CANDIDATES,) int64; the earlier of equal scores comes first.
    """
    (chosen,) = torch.where((scores >= threshold) & (scores > 0))
    if len(chosen) > MAX_CANDIDATES:  # sorting what can't be among them would take long
        lowest = scores[chosen].topk(MAX_CANDIDATES).values[-1]
        chosen = chosen[scores[chosen] >= lowest]
    order = scores[chosen].sort(descending=True, stable=True).indices
    return chosen[order[:MAX_CANDIDATES]]


def suppress(
    boxes: torch.Tensor, classes: torch.Tensor, *, iou_threshold: float, limit: int
) -> list[int]:
    """Non-maximum suppression: keep only the first of boxes of one class that overlap.

    Boxes that have no area, or NaN in them, are left out.

    Args:
        boxes: (K, 4) left, top, right, bottom; the best first.
        classes: (K,) int64.
        iou_threshold: boxes whose intersection is more than this share of their union are one
            find; with 1 each is its own.
        limit: the most boxes that are kept.

    Returns:
        The positions of the boxes that are kept, in their order.
    """
    corners, kinds = boxes.double().numpy(), classes.numpy()
    (left,) = np.nonzero((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1]))
    if iou_threshold >= 1:
        return [int(place) for place in left[:limit]]
    kept: list[int] = []
    while len(left) and len(kept) < limit:
        first, left = left[0], left[1:]
        kept.append(int(first))
        same = overlaps(corners[first], corners[left]) > iou_threshold
        left = left[~(same & (kinds[left] == kinds[first]))]
    return kept


def overlaps(box: Floats, others: Floats) -> Floats:
    """Compute one box's intersection over union with others, in [0, 1].

    Args:
        box: (4,) float64 left, top, right, bottom; with an area.
        others: (K, 4) likewise.

    Returns:
        (K,) float64.
    """
    corner = np.maximum(box[:2], others[:, :2])
    shared: Floats = np.prod(np.maximum(np.minimum(box[2:], others[:, 2:]) - corner, 0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    union: Floats = np.prod(box[2:] - box[:2]) + areas - shared
    return shared / union
