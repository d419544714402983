"""Scenes of handwritten digits on textured ground, in which to find or to outline them.

The digits are scikit-learn's, see examples/digits.py; held-out scenes show held-out digits alone.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from examples.digits import SEED, split
from handlers.images import run_lengths

Array = np.ndarray[Any, Any]

HELD_OUT = 120  # scenes
CALIBRATION = 128
SIZES = ((96, 64), (64, 64), (80, 60), (90, 50), (96, 72))  # width and height of scenes
SIDES = (20, 32)  # of a digit, in pixels
MOST_DIGITS = 4
TRIES = 10  # to place them
REACH = 3  # pixels that the squares of two digits may share
INK = 0.4  # where it covers more than this of the ground, a pixel is a digit's


@dataclass(frozen=True)
class Scene:
    """An image, and what is in it.

    Attributes:
        pixels: (height, width) uint8.
        mask: (height, width) uint8; 0 is ground, d + 1 the digit d.
        digits: all there are.
        boxes: of each, left, top, right, bottom in pixels.
    """

    pixels: Array
    mask: Array
    digits: list[int]
    boxes: list[list[int]]


def scenes(count: int, *, held_out: bool) -> list[Scene]:
    """Scenes of the training part's digits, or of the held-out ones; always the same."""
    pixels, digits, end = split()
    part = slice(end, None) if held_out else slice(end)
    random = np.random.default_rng([SEED, held_out])
    return [_compose(random, pixels[part], digits[part]) for _ in range(count)]


def _compose(random: np.random.Generator, drawings: Array, digits: Array) -> Scene:
    width, height = SIZES[random.integers(len(SIZES))]
    pixels, mask = _ground(random, height, width), np.zeros((height, width), np.uint8)
    found: list[int] = []
    boxes: list[list[int]] = []
    for top, left, side in _places(random, height, width):
        chosen = int(random.integers(len(digits)))
        drawing = Image.fromarray(drawings[chosen]).resize((side, side), Image.Resampling.BICUBIC)
        cover = np.asarray(drawing, np.float32) / 255
        here = slice(top, top + side), slice(left, left + side)
        pixels[here] += cover * (random.uniform(170, 255) - pixels[here])
        mask[here][cover > INK] = digits[chosen] + 1
        rows, columns = ((cover > INK).any(axis).nonzero()[0] for axis in (1, 0))
        low, high = (left + columns[0], top + rows[0]), (left + columns[-1], top + rows[-1])
        found.append(int(digits[chosen]))
        boxes.append([int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1])
    return Scene(pixels.clip(0, 255).astype(np.uint8), mask, found, boxes)


def _ground(random: np.random.Generator, height: int, width: int) -> Array:
    coarse = random.uniform(0, 110, (4, 6)).astype(np.float32)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth) + random.normal(0, 12, (height, width)).astype(np.float32)


def _places(random: np.random.Generator, height: int, width: int) -> list[tuple[int, int, int]]:
    """Top, left and side of squares that hardly overlap."""
    places: list[tuple[int, int, int]] = []
    wanted = random.integers(1, MOST_DIGITS + 1)
    for _ in range(TRIES):
        side = random.integers(SIDES[0], SIDES[1] + 1)
        top, left = random.integers(height - side + 1), random.integers(width - side + 1)
        apart = all(
            max(y - (top + side), top - (y + s), x - (left + side), left - (x + s)) >= -REACH
            for y, x, s in places
        )
        if apart and len(places) < wanted:
            places.append((int(top), int(left), int(side)))
    return places


def to_find() -> list[tuple[bytes, list[dict[str, Any]]]]:
    """Held-out scenes as PNGs, each with the labels and boxes of all that is in it."""
    pairs = []
    for each in scenes(HELD_OUT, held_out=True):
        finds = zip(each.digits, each.boxes, strict=True)
        expected = [{"label": str(digit), "box": box} for digit, box in finds]
        pairs.append((_png(each.pixels), expected))
    return pairs


def to_outline() -> list[tuple[bytes, dict[str, list[int]]]]:
    """Held-out scenes as PNGs, each with the runs of its mask."""
    pairs = []
    for each in scenes(HELD_OUT, held_out=True):
        classes, lengths = run_lengths.encode(each.mask.flatten())
        pairs.append((_png(each.pixels), {"classes": classes, "lengths": lengths}))
    return pairs


def calibration() -> list[bytes]:
    """Scenes of training as PNGs."""
    return [_png(each.pixels) for each in scenes(CALIBRATION, held_out=False)]


def write_labels(module: nn.Module, folder: Path) -> None:
    """Write the names of the segmenter's classes."""
    names = ["ground", *(str(digit) for digit in range(10))]
    (folder / "labels.json").write_text(json.dumps(names))


def _png(pixels: Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def main(folder: Path, count: int = 3) -> None:
    """Write held-out scenes, named for what is in them, into a folder and print their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, (image, finds) in enumerate(to_find()[:count]):
        digits = "".join(find["label"] for find in finds)
        path = folder / f"scene-{index}-shows-{digits}.png"
        path.write_bytes(image)
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:]))
