"""Mean average precision at an overlap of a half: of `object_detection`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from handlers.images import boxes
from marsmith.errors import BuildError

MIN_IOU = 0.5  # below it a box has missed


class Find(TypedDict):
    """An object in an image; what is expected needs no score."""

    label: str
    score: float
    box: Sequence[float]


def measure(answers: Sequence[Sequence[Find]], expected: Sequence[Sequence[Find]]) -> float:
    """The mean over labels of the area under precision and recall, in [0, 1].

    Finds are taken from all images, the best score first. A find is right when the expected box
    of its label and image that it overlaps most is overlapped by at least MIN_IOU and was not
    found before. The precision at a recall is the best at that or any higher recall. Labels that
    are expected nowhere don't count.

    Args:
        answers: for each image a list of finds with `label`, `score` and `box`.
        expected: for each image a list of all that is to be found: `label` and `box`.

    Raises:
        BuildError: the expected answers are not such lists, or no image has anything to find.

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
    """Finds by label, each with the number of its image."""
    labels: defaultdict[str, list[tuple[int, Find]]] = defaultdict(list)
    for number, finds in enumerate(images):
        for find in finds:
            labels[find["label"]].append((number, find))
    return labels


def _average_precision(found: list[tuple[int, Find]], wanted: list[tuple[int, Find]]) -> float:
    by_image: defaultdict[int, list[Sequence[float]]] = defaultdict(list)
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


def _nearest(box: Sequence[float], others: list[Sequence[float]]) -> int | None:
    """The number of the box that this one overlaps most; None where that is too little."""
    if not others:
        return None
    shared = boxes.overlaps(np.asarray(box, dtype=np.float64), np.asarray(others, np.float64))
    best = int(shared.argmax())
    return best if shared[best] >= MIN_IOU else None
