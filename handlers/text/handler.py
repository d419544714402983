"""Shared by tasks that take texts: a text in, tokens for the model out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TypeVar

from handlers import base
from handlers.runtimes import Tensors
from handlers.schema import JsonObject
from handlers.task import M, O, Sample, similar_length
from handlers.text import text
from handlers.text.tokens import Encoder

C = TypeVar("C", bound=text.TextConfig)


class TextHandler(base.Handler[C, O, M]):
    """A task that takes texts as tokens. A subclass implements `decode` and `answer`.

    The model takes input_ids and attention_mask, (N, T) int64, and token_type_ids if the settings
    say so. A sample's tensors are (T,), or (R, T) where an instance has several rows: windows of
    one text, or several texts.
    """

    def setup(self, folder: Path) -> None:
        """Read the tokenizer."""
        self.encoder = Encoder(folder / self.config.tokenizer, self.config)

    def screen(self, instances: Sequence[object]) -> None:
        """Refuse a request of more than `max_characters`."""
        text.check_together(instances, max_characters=self.config.max_characters)

    def group_key(self, sample: Sample[object, M]) -> Hashable:
        """Let texts of similar length share a batch: padding costs time, too."""
        return similar_length(length(sample.tensors))

    def collate(self, samples: Sequence[Sample[object, M]]) -> Tensors:
        """Combine the rows of all samples into (rows, T) int64, padded to the longest."""
        return self.encoder.pad([sample.tensors for sample in samples])

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axis of the length, which differs from batch to batch."""
        return self.encoder.varying_axes

    def example(self) -> tuple[str, bytes]:
        """A sentence."""
        return "text/plain", b"A model is only as useful as the people who can ask it something."

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be, and how much of it is read."""
        return {
            "text": "a string, or UTF-8 bytes",
            "max_tokens": self.config.max_tokens,
            "max_characters": self.config.max_characters,
        }

    def instance_schema(self) -> JsonObject:
        """A text."""
        return text.SCHEMA


def length(tensors: Tensors) -> int:
    """How many tokens the longest row of a sample has, special ones included."""
    return tensors["input_ids"].shape[-1]
