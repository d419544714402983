"""Pixels as OpenCV resizes them: what its 4.14 and 5.0 made is written down, and it is asked."""

from __future__ import annotations

import random
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handlers.images.opencv import Pixels, resize
from handlers.images.pixels import letterbox, scaled

SIDES = st.integers(1, 70)
# (height, width) before and after, channels, and the CRC-32 of what `cv2.resize` makes of `some`
# pixels, with INTER_LINEAR and INTER_AREA.
MADE_BY_OPENCV = [
    ((37, 53), (16, 16), 3, 0xEE2F731A, 0x954062E8),
    ((16, 16), (37, 53), 3, 0x736AC5B5, 0x1D5EC19E),
    ((48, 64), (24, 32), 3, 0xDF4B3AAB, 0xDF4B3AAB),
    ((48, 64), (12, 32), 3, 0xF56D58E6, 0x5DE7CA05),
    ((90, 60), (30, 20), 1, 0x845A00FF, 0x2CD4B22F),
    ((31, 45), (40, 20), 3, 0xAB3A1258, 0x50198608),
    ((1, 9), (5, 4), 3, 0x24358101, 0x2A9E743A),
    ((61, 97), (60, 96), 1, 0x5F8B9B50, 0x21C0E967),
    ((97, 61), (96, 62), 3, 0xC9229A9F, 0x00B167C8),
    ((120, 160), (50, 67), 3, 0xBA087D90, 0xACE1D63C),
]


def some(size: tuple[int, int], channels: int, seed: int) -> Pixels:
    data = random.Random(seed).randbytes(size[0] * size[1] * channels)
    pixels = np.frombuffer(data, np.uint8).reshape(*size, channels)
    return pixels[..., 0] if channels == 1 else pixels


@pytest.mark.parametrize("by_area", [False, True])
@pytest.mark.parametrize("seed", range(len(MADE_BY_OPENCV)))
def test_every_bit_is_opencvs(seed: int, by_area: bool) -> None:
    old, new, channels, *made = MADE_BY_OPENCV[seed]
    found = resize(some(old, channels, seed), new, by_area=by_area)
    assert found.shape == (new if channels == 1 else (*new, channels))
    assert zlib.crc32(np.ascontiguousarray(found).tobytes()) == made[by_area]


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(1, 4), st.integers(0, 99))
def test_opencv_itself_makes_the_same(
    old: tuple[int, int], new: tuple[int, int], channels: int, seed: int
) -> None:
    cv2: Any = pytest.importorskip("cv2", reason="pip install opencv-python-headless")
    pixels = some(old, channels, seed)
    for by_area, way in ((False, cv2.INTER_LINEAR), (True, cv2.INTER_AREA)):
        wanted = cv2.resize(pixels, new[::-1], interpolation=way)
        np.testing.assert_array_equal(resize(pixels, new, by_area=by_area), wanted)


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.booleans(), st.integers(0, 255))
def test_one_colour_stays_that(
    old: tuple[int, int], new: tuple[int, int], by_area: bool, colour: int
) -> None:
    found = resize(np.full((*old, 3), colour, np.uint8), new, by_area=by_area)
    assert abs(found.astype(int) - colour).max() <= 1  # at an edge, it rounds down twice


def test_images_are_resized_so() -> None:
    pixels = some((61, 97), 3, 0)
    image = Image.fromarray(pixels)
    wanted = resize(pixels, (30, 48), by_area=True)
    assert np.array_equal(np.asarray(scaled(image, (48, 30), "opencv_area")), wanted)
    grey = scaled(image.convert("L"), (48, 30), "opencv_linear")
    assert (grey.mode, grey.size) == ("L", (48, 30))
    boxed, placement = letterbox(image, (48, 48), "opencv_area")
    assert placement.inner == (48, 30)
    assert np.array_equal(np.asarray(boxed)[placement.top : placement.top + 30], wanted)
