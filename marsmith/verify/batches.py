"""Batches of the data that a model is verified on: for comparing, converting and timing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from handlers import batching
from handlers.base import Handler
from handlers.runtimes import Tensors
from handlers.task import Sample

VARYING_SAMPLES = 64  # enough to see which axes vary

Samples = Sequence[Sample[Any, Any]]


class Batches:
    """The samples of some data, in the batches that a worker would make of them.

    Args:
        handler: configured as it will be served.
        samples: of the data, in its order; at least one.
    """

    def __init__(self, handler: Handler[Any, Any, Any], samples: Samples) -> None:
        self.handler, self.samples = handler, samples

    def served(self, count: int, size: int) -> Iterator[list[int]]:
        """The positions of the first `count` samples, batched as a worker would, `size` at once."""
        for start in range(0, min(count, len(self.samples)), size):
            together = self.samples[start : min(count, start + size)]
            for batch in batching.plan(together, self.handler.group_key, size):
                yield [start + place for place in batch]

    def one(self, size: int) -> Tensors:
        """Real inputs: one batch of exactly `size`, of the first shape in the data."""
        return self.some(size, 1)[0]

    def some(self, size: int, count: int) -> list[Tensors]:
        """Real inputs: `count` batches of exactly `size`, spread evenly over the data."""
        return self._picked(self.handler.collate, size, count)

    def typical(self, size: int, count: int) -> list[Tensors]:
        """Like `some`, but the inputs that the model mostly runs on: those that it is timed on."""
        return self._picked(self.handler.typical, size, count)

    def _picked(
        self, collate: Callable[[Samples], Tensors], size: int, count: int
    ) -> list[Tensors]:
        samples = self.samples
        groups = batching.plan(samples, self.handler.group_key, len(samples))
        runs = [
            [members[(start + place) % len(members)] for place in range(size)]
            for members in groups
            for start in range(0, len(members), size)
        ]
        picked = (runs[turn * len(runs) // count] for turn in range(count))
        return [collate([samples[index] for index in run]) for run in picked]

    def all(self, size: int) -> list[Tensors]:
        """All samples, in batches of at most `size`."""
        plan = batching.plan(self.samples, self.handler.group_key, size)
        return [self.handler.collate([self.samples[place] for place in batch]) for batch in plan]

    def varying(self) -> dict[str, tuple[int, ...]]:
        """The axes besides the batch that vary, by input: as the task says, or in the data."""
        found = {name: set(axes) for name, axes in self.handler.varying_axes().items()}
        first = self.one(1)
        for sample in self.samples[:VARYING_SAMPLES]:
            for name, tensor in self.handler.collate([sample]).items():
                here = zip(tensor.shape, first[name].shape, strict=True)
                found.setdefault(name, set()).update(
                    axis for axis, (one, other) in enumerate(here) if one != other
                )
        return {name: tuple(sorted(axes)) for name, axes in found.items() if axes}
