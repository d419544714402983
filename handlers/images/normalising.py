"""Pixels as numbers around 0: made by the handler, or by a model as its first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


def normalise(
    pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float], white: float = 1
) -> torch.Tensor:
    """Normalise pixels to a model's input.

    Args:
        pixels: (N, C, H, W) uint8 in [0, 255].
        mean: per channel, of pixels in [0, white].
        std: per channel, of pixels in [0, white].
        white: the largest value of the pixels that mean and std were taken of: 1, or 255.

    Returns:
        (N, C, H, W) float32, (pixels / 255 * white - mean) / std.
    """
    scale, shift = (each.view(1, -1, 1, 1) for each in _line(mean, std, white))
    return pixels.to(torch.float32).mul_(scale).sub_(shift)


def _line(
    mean: Sequence[float], std: Sequence[float], white: float
) -> tuple[torch.Tensor, torch.Tensor]:
    scale = torch.tensor([white / (255 * deviation) for deviation in std])
    return scale, torch.tensor([m / deviation for m, deviation in zip(mean, std, strict=True)])


class Normalisation(torch.nn.Module):
    """`normalise` as a part of a model: in float32, whatever the model computes in.

    Args:
        mean: see `normalise`.
        std: likewise.
        white: likewise.
        channels_last: it takes, and returns, (N, H, W, C).
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        white: float = 1,
        *,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        shape = (1, 1, 1, -1) if channels_last else (1, -1, 1, 1)
        scale, shift = (each.view(shape) for each in _line(mean, std, white))
        self.scale: torch.Tensor = torch.nn.Buffer(scale)
        self.shift: torch.Tensor = torch.nn.Buffer(shift)
        self.like: torch.Tensor = torch.nn.Buffer(torch.empty(0))  # its type is the model's

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise uint8 pixels to numbers of the model's own type."""
        return (pixels.to(torch.float32) * self.scale - self.shift).to(self.like.dtype)

    def _apply(
        self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True
    ) -> Normalisation:
        # In bfloat16, rounding these two alone would move all pixels by up to 0.4 %.
        exact = self.scale, self.shift
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.scale, self.shift = (each.to(self.like.device) for each in exact)
        return self
