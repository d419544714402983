"""What a decoder has cached, as transformers takes it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch


def over(past: Sequence[torch.Tensor], name: str) -> Any:
    """A cache of transformers over given keys and values, which keeps new ones apart.

    Args:
        past: the keys and the values of each layer, (N, heads, P, size) each.
        name: what the new ones' names begin with, in the attribute `new`.
    """
    transformers: Any = importlib.import_module("transformers")

    class Past(transformers.DynamicCache):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.new: dict[str, torch.Tensor] = {}

        def update(
            self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object, **__: object
        ) -> tuple[torch.Tensor, torch.Tensor]:
            self.new[f"{name}.{layer}.key"] = keys
            self.new[f"{name}.{layer}.value"] = values
            pairs = zip(past[2 * layer : 2 * layer + 2], (keys, values), strict=True)
            key, value = (_joined(pair) for pair in pairs)
            return key, value

        def get_seq_length(self, *_: object, **__: object) -> int:
            return past[0].shape[2]

    return Past()


def _joined(parts: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """What is cached and what is new, for who doesn't look at the parts; see `_attention`."""
    found = torch.cat(parts, dim=2)
    found.parts = parts  # type: ignore[attr-defined]
    return found
