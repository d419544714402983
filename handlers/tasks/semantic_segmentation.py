"""Semantic segmentation: an encoded image in, the class of each of its pixels out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

from handlers import labels
from handlers.errors import LoadError, ModelError
from handlers.images import handler, run_lengths
from handlers.images.pixels import Placement
from handlers.runtimes import Tensors
from handlers.schema import setting
from handlers.task import Answer, NoOptions, Sample

MAX_CLASSES = 256  # what one byte of a PNG can tell apart


@dataclass(frozen=True, kw_only=True)
class SemanticSegmentationConfig(handler.ImageConfig):
    """How an image becomes the model's input, and the names of classes.

    Memory grows with `max_pixels`: about 40 bytes for each pixel of an answer. Where nothing is
    resized the model sees as many pixels, too, and its own (classes, height, width) float32 is
    far more: set a `resize`, or a `max_pixels` that there is enough memory for.
    """

    labels: str | None = setting(None, "A JSON file in the archive: a list of unique names.")
    max_pixels: int = setting(
        4_000_000, "The most pixels of a request's images together.", minimum=1
    )


@dataclass(frozen=True)
class Segmentation(Answer):
    """The class of each pixel of the original image, row after row, as runs of equal classes.

    Run i is `lengths[i]` pixels of the class number `classes[i]`; a run may go on in the next row.
    `areas` counts the pixels of each label that was found. The picture is a PNG with a palette,
    whose pixels are the numbers of classes.
    """

    height: int
    width: int
    classes: list[int]
    lengths: list[int]
    areas: dict[str, int]

    media_types: ClassVar[tuple[str, ...]] = ("image/png",)
    ragged: ClassVar[Mapping[str, tuple[int, ...]]] = {"classes": (), "lengths": ()}

    def encode(self, media_type: str) -> bytes:
        """Draw a PNG of the original's size, in the colours of `palette`."""
        numbers = run_lengths.decode(self.classes, self.lengths).astype(np.uint8)
        image = Image.fromarray(numbers.reshape(self.height, self.width))
        image.putpalette(palette())
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()


class SemanticSegmentation(handler.ImageHandler[SemanticSegmentationConfig, NoOptions]):
    """Classifies pixels; the model answers (N, classes, h, w) logits, as fine as its input or less.

    Logits are resized to the original image, bilinearly, and the highest is the pixel's class.
    """

    Config = SemanticSegmentationConfig
    Answer = Segmentation

    def setup(self, folder: Path) -> None:
        """Check the settings and read the labels."""
        super().setup(folder)
        if self.config.crop and not self._keeps_all():
            raise LoadError(
                "'crop' would remove pixels that must be classified", hint="set 'resize' alone"
            )
        self.labels = labels.read(folder / self.config.labels) if self.config.labels else None

    def describe(self) -> dict[str, object]:
        """Describe the model, with the labels in the order of their numbers."""
        return {**super().describe(), "labels": self.labels}

    def answer(
        self, outputs: Tensors, samples: Sequence[Sample[NoOptions, Placement]]
    ) -> list[Segmentation]:
        """Answer the likeliest class of each pixel of the originals."""
        logits = next(iter(outputs.values()))
        if logits.dim() != 4 or not 1 <= logits.shape[1] <= MAX_CLASSES or not logits.numel():
            raise ModelError(
                f"this archive's model must answer (N, classes, h, w), of 1 to {MAX_CLASSES} "
                f"classes, not {tuple(logits.shape)}"
            )
        if not torch.isfinite(logits).all():
            raise ModelError("the model's logits are not finite", hint="check the input")
        names = labels.of(self.labels, logits.shape[1])
        return [
            _segmentation(
                likeliest(each.float(), tuple(s.tensors["image"].shape[-2:]), s.meta), names
            )
            for each, s in zip(logits, samples, strict=True)
        ]

    def _keeps_all(self) -> bool:
        resize, crop = self.config.resize, self.config.crop
        height, width = (crop, crop) if isinstance(crop, int) else crop or (0, 0)
        return isinstance(resize, tuple) and height >= resize[0] and width >= resize[1]


def likeliest(logits: torch.Tensor, size: tuple[int, ...], placement: Placement) -> torch.Tensor:
    """The class of each pixel of an original image.

    Args:
        logits: (classes, h, w) float32, for all of the model's input.
        size: the (height, width) of the model's input.
        placement: where the image lies in it.

    Returns:
        (height, width) uint8 of the original; the first class of equal logits.
    """
    classes, h, w = logits.shape
    width, height = placement.size
    if (height, width) == (h, w) == size and placement == Placement(placement.size, placement.size):
        return logits.argmax(dim=0).to(torch.uint8)
    down = _places(height, placement.inner[1], placement.top, h, size[0])
    across = _places(width, placement.inner[0], placement.left, w, size[1])
    grid = torch.stack(torch.broadcast_tensors(across[None, :], down[:, None]), dim=-1)[None]
    best = torch.full((height, width), -torch.inf)
    numbers = torch.zeros((height, width), dtype=torch.uint8)
    for number in range(classes):  # one by one: all at once would take `classes` times the memory
        plane = torch.nn.functional.grid_sample(
            logits[None, number : number + 1], grid, padding_mode="border", align_corners=False
        )[0, 0]
        numbers.masked_fill_(plane > best, number)
        torch.maximum(best, plane, out=best)
    return numbers


def _places(original: int, inner: int, offset: int, coarse: int, fine: int) -> torch.Tensor:
    """The positions of an original's rows or columns in the logits, which span [-1, 1].

    Args:
        original: how many rows the original has.
        inner: how many rows of the model's input it was resized to.
        offset: the first of these rows.
        coarse: how many rows the logits have.
        fine: how many the model's input has.

    Returns:
        (original,) float32.
    """
    centres = (torch.arange(original, dtype=torch.float64) + 0.5) * (inner / original) + offset
    # What surrounds a letterboxed image must not show at its edges.
    half = 0.5 * fine / coarse
    first, last = max(0, offset) + half, min(fine, offset + inner) - half
    return (centres.clamp(first, max(first, last)) * (2 / fine) - 1).float()


def _segmentation(numbers: torch.Tensor, names: list[str]) -> Segmentation:
    height, width = numbers.shape
    flat = numbers.flatten().numpy()
    areas = np.bincount(flat, minlength=len(names)).tolist()
    found = {name: area for name, area in zip(names, areas, strict=True) if area}
    return Segmentation(height, width, *run_lengths.encode(flat), found)


def palette() -> list[int]:
    """The colours of class numbers 0 to 255, red, green and blue after each other.

    The three lowest bits of a number are the highest of red, green and blue, the next three the
    next highest, and so on: black for 0, and neighbours are far apart.

    See: the colour map of PASCAL VOC, M. Everingham et al., The PASCAL Visual Object Classes
    Challenge 2012 Development Kit, `VOCcode/VOClabelcolormap.m`.
    """
    colours = []
    for number in range(256):
        for channel in range(3):
            bits = ((number >> (3 * place + channel) & 1) << (7 - place) for place in range(3))
            colours.append(sum(bits))
    return colours
