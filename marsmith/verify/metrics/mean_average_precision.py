"""Mean average precision at an overlap of a half: of `object_detection`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from handlers.images import boxes
from marsmith.errors import BuildError

MIN_IOU = 0.5  # below it a box has missed

Find = dict[str, Any]


def measure(answers: Sequence[Sequence[Find]], expected: Sequence[Sequence[Find]]) -> float:
    """The mean over labels of the area under precision and recall, in [0, 1].

    From the best score of all images down, a find is right when the box that it overlaps most, of
    those of its label in its image, is overlapped by at least MIN_IOU and was not found before.
    Precision at a recall is the best at that or any higher one. Labels that are nowhere expected
    don't count.

    Args:
        answers: of each image; finds with `label`, `score` and `box`.
        expected: of each image, all there is to find: `label` and `box`.

    Raises:
        BuildError: the expected answers are no such lists, or there is nothing to find in any.

    See: M. Everingham et al., The PASCAL Visual Object Classes Challenge 2012 Development Kit,
    section 3.4.1 and `VOCcode/VOCevaldet.m`.
    """
    try:
        wanted = _by_label(expected)
        fits = all(len(find["box"]) == 4 for finds in wanted.values() for _, find in finds)
    except (TypeError, KeyError):
        fits = False
    if not fits:
        raise BuildError("the expected answers must be lists of {label, box}")
    if not wanted:
        raise BuildError("there is nothing to find in any of the expected answers")
    found = _by_label(answers)
    return float(np.mean([_average_precision(found[label], wanted[label]) for label in wanted]))


def _by_label(images: Sequence[Sequence[Find]]) -> defaultdict[str, list[tuple[int, Find]]]:
    """Finds with the number of their image, by label."""
    labels: defaultdict[str, list[tuple[int, Find]]] = defaultdict(list)
    for number, finds in enumerate(images):
        for find in finds:
            labels[find["label"]].append((number, find))
    return labels


def _average_precision(found: list[tuple[int, Find]], wanted: list[tuple[int, Find]]) -> float:
    by_image: defaultdict[int, list[Any]] = defaultdict(list)
    for image, find in wanted:
        by_image[image].append(find["box"])
    seen: set[tuple[int, int]] = set()
    right = []
    for image, find in sorted(found, key=lambda each: -each[1]["score"]):
        best = _nearest(find["box"], by_image[image])
        right.append(best is not None and (image, best) not in seen)
        if best is not None:
            seen.add((image, best))
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float((highest * np.asarray(right)).sum() / len(wanted))


def _nearest(box: Sequence[float], others: list[Any]) -> int | None:
    """Which of the others it overlaps most; None where that is too little."""
    if not others:
        return None
    shared = boxes.overlaps(np.asarray(box, dtype=np.float64), np.asarray(others, np.float64))
    best = int(shared.argmax())
    return best if shared[best] >= MIN_IOU else None
