"""Heat maps: where in an image a prediction comes from, as numbers or as a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

from handlers.errors import ModelError
from handlers.images.pixels import Placement
from handlers.runtimes import Tensors
from handlers.task import Answer

DECIMALS = 6
WINDOWS = 8  # of occlusion, along each side
FOR, AGAINST, NEUTRAL = (178, 24, 43), (33, 102, 172), (247, 247, 247)


@dataclass(frozen=True)
class HeatMap(Answer):
    """What each pixel of the model's input added to a label; above 0 it speaks for the label.

    `box` is where the map lies on the original image: left, top, right, bottom, in its pixels.
    In the picture, pixels that speak for the label are red, those that speak against it blue.
    """

    label: str
    heat_map: list[list[float]]
    box: list[float]

    media_types: ClassVar[tuple[str, ...]] = ("image/png",)

    def encode(self, media_type: str) -> bytes:
        """Draw a PNG of the map's size; the strongest attribution has the full colour."""
        heat = np.array(self.heat_map, dtype=np.float64)
        strength = np.abs(heat) / (np.abs(heat).max() or 1.0)
        colours = np.where(heat[..., None] > 0, np.array(FOR), np.array(AGAINST))
        mixed = strength[..., None] * colours + (1 - strength[..., None]) * np.array(NEUTRAL)
        buffer = io.BytesIO()
        Image.fromarray(mixed.round().astype(np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()


def of(attributions: torch.Tensor, label: str, placement: Placement) -> HeatMap:
    """The map of one image's attributions, (C, H, W): the sum of its channels."""
    if not torch.isfinite(attributions).all():
        raise ModelError("the attributions are not finite", hint="check the input")
    heat = attributions.sum(dim=0).double().round(decimals=DECIMALS)
    height, width = heat.shape
    return HeatMap(label, heat.tolist(), placement.covered(width, height))


def windows(inputs: Tensors, channel_axis: int = 1) -> dict[str, tuple[int, ...]]:
    """Occlude an eighth of each side at once, all channels together.

    Args:
        inputs: (N, C, H, W), or (N, H, W, C), by name.
        channel_axis: 1, or 3.
    """
    return {
        name: tuple(
            side if axis == channel_axis else -(-side // WINDOWS)
            for axis, side in enumerate(x.shape[1:], start=1)
        )
        for name, x in inputs.items()
    }
