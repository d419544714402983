"""A task of ours that answers a constant: what a handler costs by itself.

marsmith build benchmarks/constant/constant.yaml
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from handlers.base import Handler
from handlers.runtimes import Tensors
from handlers.task import Answer, Config, NoOptions, Sample


@dataclass(frozen=True)
class One(Answer):
    """The constant."""

    answer: int


class Constant(Handler[Config, NoOptions, None]):
    """Answers 1."""

    Config = Config
    Options = NoOptions
    Answer = One

    def decode(self, instance: object, options: NoOptions) -> Sample[NoOptions, None]:
        """Look at nothing of it."""
        return Sample({"nothing": torch.zeros(1)}, options, None)

    def answer(self, outputs: Tensors, samples: Sequence[Sample[NoOptions, None]]) -> Sequence[One]:
        """The same for each."""
        return [One(1)] * len(samples)

    def example(self) -> tuple[str, bytes]:
        """Anything."""
        return "text/plain", b"x"

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be."""
        return {"anything": "of which nothing is read"}


def model() -> torch.nn.Module:
    """A module that does nothing."""
    return torch.nn.Identity()


def held_out() -> list[bytes]:
    """One request."""
    return [b"x"]
