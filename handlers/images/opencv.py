"""Resize 8-bit images as OpenCV's `cv2.resize` does, to the last bit, in numpy.

Its linear interpolation rounds weights to 11 bits and sums in whole numbers; its areas are means
in float32, summed in the order of the pixels. Linearly, it looks at the pixels that an output pixel
lies between, however much smaller the output is, where PIL looks at all that it covers.

See: https://docs.opencv.org/4.x/da/d54/group__imgproc__transform.html, and imgproc's resize.cpp,
for what is done in which order. What its builds for x86 do; others may differ in the last bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

ONE = 2048  # weights have 11 bits
EDGE = 1e-3  # of a pixel; less of one isn't counted
STRIP = 64  # rows that are read at once, so that they stay in the CPU's cache


class Between(NamedTuple):
    """The pixels that each output pixel of an axis lies between.

    Attributes:
        first: (size,) the one.
        second: (size,) its neighbour, or itself at the edge.
        near: (size,) the weight of the first, of ONE.
        far: (size,) the weight of the second.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    near: npt.NDArray[np.int32]
    far: npt.NDArray[np.int32]


def resize(pixels: Pixels, size: tuple[int, int], *, by_area: bool) -> Pixels:
    """Resize an image.

    Args:
        pixels: (height, width) or (height, width, channels) uint8.
        size: (height, width) of the result.
        by_area: as `cv2.INTER_AREA` does it, instead of `cv2.INTER_LINEAR`.

    Returns:
        (*size) or (*size, channels) uint8.
    """
    if pixels.shape[:2] == size:
        return pixels
    planes = pixels if pixels.ndim == 3 else pixels[..., None]
    # OpenCV inverts twice, which shows where a pixel lies between two.
    down, across = (1 / (new / old) for new, old in zip(size, planes.shape[:2], strict=True))
    halved = down == across == 2
    if halved or (by_area and down >= 1 and across >= 1):
        found = _areas(planes, size, down, across)
    else:
        found = _linear(planes, size, (down, across), by_area=by_area)
    return found if pixels.ndim == 3 else found[..., 0]


def _linear(
    planes: Pixels, size: tuple[int, int], scales: tuple[float, float], *, by_area: bool
) -> Pixels:
    rows, columns = (
        _between(old, new, scale, by_area=by_area)
        for old, new, scale in zip(planes.shape[:2], size, scales, strict=True)
    )
    # Columns beyond the edge are the edge; rows are sums of it twice, each rounded.
    columns.near[columns.first == columns.second] = ONE
    columns.far[columns.first == columns.second] = 0
    used, places = np.unique([rows.first, rows.second], return_inverse=True)
    source = planes[used].astype(np.int32)
    near, far = columns.near[:, None], columns.far[:, None]
    wide = source[:, columns.first] * near + source[:, columns.second] * far
    above, below = (wide >> 4)[places.reshape(2, -1)]
    near, far = rows.near[:, None, None], rows.far[:, None, None]
    found: Pixels = (((above * near >> 16) + (below * far >> 16) + 2) >> 2).astype(np.uint8)
    return found


def _between(old: int, new: int, scale: float, *, by_area: bool) -> Between:
    places = np.arange(new)
    if by_area:
        first = np.floor(places * scale).astype(np.int64)
        part = ((places + 1) - (first + 1) * (new / old)).astype(np.float32)
        part = np.where(part <= 0, np.float32(0), part - np.floor(part))
    else:
        exact = ((places + 0.5) * scale - 0.5).astype(np.float32)
        first = np.floor(exact).astype(np.int64)
        part = exact - np.floor(exact)
    near, far = (np.rint(each * np.float32(ONE)).astype(np.int32) for each in (1 - part, part))
    return Between(first.clip(0, old - 1), (first + 1).clip(0, old - 1), near, far)


def _areas(planes: Pixels, size: tuple[int, int], down: float, across: float) -> Pixels:
    if down.is_integer() and across.is_integer():
        return _blocks(planes, int(down), int(across))
    strips = (planes[start : start + STRIP] for start in range(0, len(planes), STRIP))
    wide = np.concatenate(
        [_sums(each.astype(np.float32).swapaxes(0, 1), size[1], across) for each in strips], axis=1
    ).swapaxes(0, 1)
    return np.rint(_sums(wide, size[0], down)).clip(0, 255).astype(np.uint8)


def _blocks(planes: Pixels, down: int, across: int) -> Pixels:
    """The means of blocks of whole pixels."""
    height, width, channels = planes.shape
    blocks = planes.reshape(height // down, down, width // across, across, channels)
    sums: npt.NDArray[np.int32] = blocks.sum(axis=(1, 3), dtype=np.int32)
    if down == across == 2:
        halves: Pixels = ((sums + 2) >> 2).astype(np.uint8)
        return halves
    mean = np.float32(1) / np.float32(down * across)
    means: Pixels = np.rint(sums.astype(np.float32) * mean).astype(np.uint8)
    return means


def _sums(planes: npt.NDArray[np.float32], new: int, scale: float) -> npt.NDArray[np.float32]:
    """Weighted sums along the first axis: of what each output pixel covers, in that order."""
    old = len(planes)
    start = np.arange(new) * scale
    end = start + scale
    cell = np.minimum(scale, old - start)
    whole_end = np.minimum(np.floor(end).astype(np.int64), old - 1)
    whole = np.minimum(np.ceil(start).astype(np.int64), whole_end)
    found = np.zeros((new, *planes.shape[1:]), np.float32)

    def add(
        places: npt.NDArray[np.int64],
        weights: npt.NDArray[np.float64],
        where: npt.NDArray[np.bool_],
    ) -> None:
        counted = np.where(where, weights, 0.0).astype(np.float32)[:, None, None]
        np.add(found, planes[places.clip(0, old - 1)] * counted, out=found)

    add(whole - 1, (whole - start) / cell, whole - start > EDGE)
    for step in range(int((whole_end - whole).max(initial=0))):
        add(whole + step, 1 / cell, whole + step < whole_end)
    rest = end - whole_end
    add(whole_end, np.minimum(np.minimum(rest, 1), cell) / cell, rest > EDGE)
    return found
