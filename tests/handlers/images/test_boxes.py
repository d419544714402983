"""Formats of boxes, and non-maximum suppression against one that is slow and plainly right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from handlers.images import boxes
from handlers.images.boxes import MAX_CANDIDATES, candidates, overlaps, suppress, to_corners


@pytest.mark.parametrize(
    ("form", "units", "box"),
    [
        ("xyxy", "pixels", [10.0, 20.0, 30.0, 60.0]),
        ("cxcywh", "pixels", [20.0, 40.0, 20.0, 40.0]),
        ("xyxy", "fraction", [0.1, 0.1, 0.3, 0.3]),
        ("cxcywh", "fraction", [0.2, 0.2, 0.2, 0.2]),
    ],
)
def test_every_format_says_the_same_box(form: Any, units: Any, box: list[float]) -> None:
    corners = to_corners(torch.tensor([[box]]), form, units, (100, 200))
    torch.testing.assert_close(corners, torch.tensor([[[10.0, 20.0, 30.0, 60.0]]]))


def slow_iou(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return width * height / (sum(areas) - width * height)


def slow_suppress(
    found: list[list[float]], classes: list[int], threshold: float, limit: int
) -> list[int]:
    kept: list[int] = []
    for i, box in enumerate(found):
        if any(math.isnan(x) for x in box) or box[2] <= box[0] or box[3] <= box[1]:
            continue
        if all(classes[j] != classes[i] or slow_iou(found[j], box) <= threshold for j in kept):
            kept.append(i)
    return kept[:limit]


# Few different corners: boxes that are equal, touch, are empty or turned round are common.
CORNER = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 5.5, math.nan, math.inf])
BOXES = st.lists(st.tuples(*[CORNER] * 4, st.integers(0, 2)), max_size=24)


@settings(max_examples=200)
@given(BOXES, st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.9, 1.0]), st.integers(1, 12))
def test_it_keeps_what_the_slow_one_keeps(
    rows: list[tuple[float, ...]], threshold: float, limit: int
) -> None:
    # Infinite edges are those of the image by then: see Placement.to_original.
    found = [[min(x, 8.0) for x in row[:4]] for row in rows]
    classes = [int(row[4]) for row in rows]
    kept = suppress(
        torch.tensor(found).reshape(-1, 4),
        torch.tensor(classes, dtype=torch.int64),
        iou_threshold=threshold,
        limit=limit,
    )
    assert kept == slow_suppress(found, classes, threshold, limit)


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=2, max_size=9))
def test_overlaps_are_intersections_over_unions(rows: list[tuple[int, ...]]) -> None:
    found = [[float(min(a, c)), float(min(b, d)), max(a, c) + 1.0, max(b, d) + 1.0]
             for a, b, c, d in rows]  # fmt: skip
    shared = overlaps(np.array(found[0]), np.array(found[1:]))
    np.testing.assert_allclose(shared, [slow_iou(found[0], each) for each in found[1:]])


@settings(max_examples=100)
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.1, 0.2, 0.3]), max_size=30), st.integers(1, 8))
def test_candidates_are_the_best_and_the_earlier_of_equals(scores: list[float], cap: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes, "MAX_CANDIDATES", cap)
        chosen = candidates(torch.tensor(scores), 0.2).tolist()
    wanted = [i for i, score in enumerate(scores) if score >= 0.2]
    assert chosen == sorted(wanted, key=lambda i: -scores[i])[:cap]


def test_a_score_of_nothing_is_no_find() -> None:
    assert candidates(torch.tensor([0.0, -1.0, 1e-9]), 0.0).tolist() == [2]


class Sorting(TorchFunctionMode):
    """Notes how many numbers are sorted at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.sort:
            self.sizes.append(args[0].numel())
        return func(*args, **(kwargs or {}))


def test_the_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    with Sorting() as sorting:
        chosen = candidates(1.0 + torch.randperm(500_000, generator=generator), 0.0)
    assert (len(chosen), sorting.sizes) == (MAX_CANDIDATES, [MAX_CANDIDATES])
    compared: list[int] = []

    def counted(box: Any, others: Any) -> Any:
        compared.append(len(others))
        return overlaps(box, others)

    monkeypatch.setattr(boxes, "overlaps", counted)
    corners = torch.rand(len(chosen), 4, generator=generator) * 100
    corners[:, 2:] += corners[:, :2] + 1
    kept = suppress(corners, chosen % 3, iou_threshold=0.99, limit=1000)
    assert len(kept) == len(compared) == 1000
    assert max(compared) < MAX_CANDIDATES
