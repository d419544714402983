"""Models whose weights integers of few bits express exactly."""

from __future__ import annotations

import torch
from torch import nn

WIDTH = 256


class Weighty(nn.Module):
    """Linear layers over each token; its weights are what a count of bits can count.

    Rounded to so many bits, none of them changes: only rounded activations change what it returns.
    """

    def __init__(self, bits: int, last_bits: int) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(0)
        self.first = nn.Linear(WIDTH, WIDTH, bias=False)
        self.second = nn.Linear(WIDTH, WIDTH, bias=False)
        self.last = nn.Linear(WIDTH, 64, bias=False)
        for layer, count in ((self.first, bits), (self.second, bits), (self.last, last_bits)):
            half = 2 ** (count - 1)
            weight = torch.randint(-half, half, layer.weight.shape, generator=chance).float()
            weight[:, ::32], weight[:, 1::32] = -half, half - 1  # in each group, the whole range
            layer.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu() / 1000
        x = self.second(x).relu() / 1000
        found: torch.Tensor = self.last(x)
        return found


def tokens(rows: int, length: int) -> torch.Tensor:
    """Embedded tokens, (rows, length, WIDTH) float32."""
    return torch.randn(rows, length, WIDTH, generator=torch.Generator().manual_seed(length))
