"""Long texts in windows that overlap, each a row of the model's batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from handlers.batching import Sample
from handlers.errors import LoadError, ModelError
from handlers.inputs import text
from handlers.inputs.tokens import Encoder, Tokens
from handlers.schema import setting


@dataclass(frozen=True, kw_only=True)
class Config(text.Config):
    """How a text becomes windows of `max_tokens`."""

    overlap: int | None = setting(
        None,
        "How many tokens of a window are in the next one, too; by default a quarter of them.",
        minimum=0,
    )
    max_windows: int = setting(
        16, "The most windows of one instance; what lies behind is cut, or refused.", minimum=1
    )


@dataclass(frozen=True)
class Windows:
    """Where the tokens of an instance's windows come from.

    Attributes:
        source: the text that is read in windows.
        tokens: those of each window, in order.
        overlap: how many of the text each has in common with the next.
        truncated: whether there was more of the text than windows.
    """

    source: str
    tokens: list[Tokens]
    overlap: int
    truncated: bool


class Reader:
    """Reads the whole of a text, or of the second of two, in windows.

    Args:
        encoder: what makes tokens of them.
        config: how large windows are, and how many.
        paired: there are two texts; the first is in every window.

    Raises:
        LoadError: a window has no room for more than the overlap.
    """

    def __init__(self, encoder: Encoder, config: Config, *, paired: bool = False) -> None:
        self.encoder, self.config = encoder, config
        self.overlap = config.max_tokens // 4 if config.overlap is None else config.overlap
        special = encoder.tokenizer.num_special_tokens_to_add(paired)
        if config.max_tokens - special <= self.overlap:
            raise LoadError(
                f"windows of {config.max_tokens} tokens, {special} of them special, have no room "
                f"for more than an overlap of {self.overlap}"
            )

    def read(self, first: str, options: text.Options, second: str | None = None) -> Sample:
        """A text, or two, to windows; `meta` is their `Windows`.

        Returns:
            input_ids, attention_mask and, if the model takes them, token_type_ids: (W, T) int64,
            padded as `tokens.Encoder.pad` does.

        Raises:
            BadRequest: see `tokens.Encoder.windows`.
        """
        found = self.encoder.windows(
            first, options, pair=second, overlap=self.overlap, limit=self.config.max_windows
        )
        tokens: list[Tokens] = [each.meta for each in found]
        source = first if second is None else second
        meta = Windows(source, tokens, self.overlap, tokens[0].truncated)
        return Sample(self.encoder.pad(found), options, meta)


def length(sample: Sample) -> int:
    """How many tokens the longest window of a sample has."""
    return sample.tensors["input_ids"].shape[1]


def split(output: torch.Tensor, samples: Sequence[Sample], shape: str) -> list[torch.Tensor]:
    """A model's output, (N, T, ...), by sample: (W, T, ...) each.

    Args:
        output: of the samples in one batch, as `tokens.Encoder.pad` makes it.
        samples: in their order.
        shape: what the model must answer, for messages.

    Raises:
        ModelError: it has other rows than the batch, or fewer tokens.
    """
    counts = [len(sample.meta.tokens) for sample in samples]
    wanted = [sum(counts), max(map(length, samples))]
    if output.ndim != shape.count(",") + 1 or list(output.shape[:2]) != wanted:
        raise ModelError(f"the model must answer {shape} of {wanted}, not {tuple(output.shape)}")
    return list(output.split(counts))


def once(windows: Windows) -> tuple[list[int], list[int]]:
    """Every token of the text once, in its order: the rows and columns of where it is.

    Of two windows that share a token it is taken from the one in which it is farther from the
    edge.
    """
    rows: list[int] = []
    columns: list[int] = []
    for row, tokens in enumerate(windows.tokens):
        inside = [at for at, sequence in enumerate(tokens.sequences) if sequence is not None]
        if row > 0:
            inside = inside[windows.overlap - windows.overlap // 2 :]
        if row + 1 < len(windows.tokens):
            inside = inside[: len(inside) - windows.overlap // 2]
        rows += [row] * len(inside)
        columns += inside
    return rows, columns
