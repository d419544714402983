"""The cache of a language model: keys and values of the tokens so far, in a slot per text."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from handlers.device import CPU
from handlers.runtimes import Tensors

BLOCK = 64  # tokens that a cache grows by at once; engines prepare for each new shape


def empty(
    rows: int,
    layers: int,
    heads: int,
    size: int,
    room: int = 1,
    *,
    device: torch.device = CPU,
) -> list[torch.Tensor]:
    """Zeros, one (rows, heads, room, size) float32 for the keys and one for the values per layer.

    There is room for a token even where nothing is cached: not every engine takes an empty
    tensor. What isn't used is masked, and must be finite.
    """
    return [torch.zeros(rows, heads, room, size, device=device) for _ in range(2 * layers)]


def named(tensors: Sequence[torch.Tensor], prefix: str = "past") -> Tensors:
    """Keys and values by name: past.0.key, past.0.value, past.1.key and so on."""
    kinds = ("key", "value")
    return {f"{prefix}.{place // 2}.{kinds[place % 2]}": x for place, x in enumerate(tensors)}


class KeyValueCache:
    """Keys and values of several texts, in slots from 0; read without a copy where all are wanted.

    Args:
        slots: the most texts.
        layers: the model's layers.
        heads: the heads of keys and values in each layer.
        size: the size of a head.
        device: where it is kept: where the model runs, or it would travel for every token.
    """

    def __init__(
        self, slots: int, layers: int, heads: int, size: int, device: torch.device = CPU
    ) -> None:
        self._shape, self._device = (slots, layers, heads, size), device
        self._tensors: list[torch.Tensor] = []
        self.room = 0

    def fit(self, tokens: int) -> None:
        """Give every slot room for so many tokens, and not for many more."""
        room = -(-tokens // BLOCK) * BLOCK
        if room == self.room or self.room // 2 < room < self.room:
            return
        old = self._tensors
        self._tensors = empty(*self._shape, room, device=self._device) if room else []
        self.room = room
        for mine, its in zip(self._tensors, old, strict=False):
            kept = min(room, its.shape[2])
            mine[:, :, :kept] = its[:, :, :kept]

    def read(self, slots: Sequence[int], used: int) -> list[torch.Tensor]:
        """Read what is cached in some slots; the first ones in their order are not copied.

        Args:
            slots: in the order wanted.
            used: how many tokens the fullest of them has.
        """
        if not used:
            return empty(len(slots), *self._shape[1:], device=self._device)
        if list(slots) == list(range(len(slots))):
            return [each[: len(slots)] for each in self._tensors]
        return [each[list(slots)] for each in self._tensors]

    def write(
        self, slot: int, start: int, count: int, row: int, new: Sequence[torch.Tensor]
    ) -> None:
        """Add the keys and values that a pass made of the first `count` tokens of its row `row`."""
        for mine, made in zip(self._tensors, new, strict=True):
            mine[slot, :, start : start + count] = made[row, :, :count]

    def write_one_each(
        self, slots: Sequence[int], starts: Sequence[int], new: Sequence[torch.Tensor]
    ) -> None:
        """Add what a pass made of one token for each slot, (rows, heads, 1, size) each."""
        rows, places = torch.tensor(slots), torch.tensor(starts)
        for mine, made in zip(self._tensors, new, strict=True):
            mine[rows, :, places] = made[:, :, 0]

    def move(self, source: int, target: int) -> None:
        """Copy what one slot has into another."""
        for each in self._tensors:
            each[target] = each[source]

    def reorder(self, slots: Sequence[int], sources: Sequence[int]) -> None:
        """Copy into each slot what its source has; all sources are read before any is written."""
        for each in self._tensors:
            each[list(slots)] = each[list(sources)]

    def clear(self, slot: int) -> None:
        """Clear a slot: attention makes NaN even of a masked number, if it isn't finite."""
        for each in self._tensors:
            each[slot] = 0
