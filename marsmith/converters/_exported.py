"""Helpers of every export through torch.export."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from handlers.runtimes.eager import named


class ByPosition(torch.nn.Module):
    """A module that takes and returns tensors by position, whatever its own signature."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Call the module, and return its outputs in their order."""
        return tuple(named(self.module(*inputs)).values())


def grown(tensor: torch.Tensor, axes: Iterable[int]) -> torch.Tensor:
    """Repeat a tensor to at least 2 in its dynamic axes: an export takes a 1 for a constant."""
    times = [2 if axis in axes and size == 1 else 1 for axis, size in enumerate(tensor.shape)]
    return tensor.repeat(times)
