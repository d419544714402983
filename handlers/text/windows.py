"""Windows: long texts are read in parts that overlap, each a row of the model's batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from handlers.errors import LoadError, ModelError
from handlers.runtimes import Tensors
from handlers.schema import setting
from handlers.text import text
from handlers.text.tokens import Encoder, Tokens


@dataclass(frozen=True, kw_only=True)
class WindowConfig(text.TextConfig):
    """How a text becomes windows of `max_tokens`."""

    overlap: int | None = setting(
        None,
        "How many tokens of a window are in the next one, too; by default a quarter of it.",
        minimum=0,
    )
    max_windows: int = setting(
        16, "The most windows of one instance; text behind them is cut, or refused.", minimum=1
    )


@dataclass(frozen=True)
class Windows:
    """Where the tokens of an instance's windows come from.

    Attributes:
        source: the text that is read in windows.
        tokens: the tokens of each window, in order.
        overlap: how many tokens of the text each has in common with the next.
        truncated: whether the text was longer than the windows.
    """

    source: str
    tokens: list[Tokens]
    overlap: int
    truncated: bool


class Reader:
    """Reads the whole of a text, or of the second of two, in windows.

    Args:
        encoder: turns texts into tokens.
        config: the size and number of windows.
        paired: whether there are two texts; the first is in every window.

    Raises:
        LoadError: a window has no room for more than the overlap.
    """

    def __init__(self, encoder: Encoder, config: WindowConfig, *, paired: bool = False) -> None:
        self.encoder, self.config = encoder, config
        self.overlap = config.max_tokens // 4 if config.overlap is None else config.overlap
        special = encoder.tokenizer.num_special_tokens_to_add(paired)
        if config.max_tokens - special <= self.overlap:
            raise LoadError(
                f"windows of {config.max_tokens} tokens, {special} of them special, have no room "
                f"for more than an overlap of {self.overlap}"
            )

    def read(
        self, first: str, second: str | None = None, *, truncate: bool = True
    ) -> tuple[Tensors, Windows]:
        """Convert a text, or two, to windows.

        Returns:
            input_ids, attention_mask and, if the model takes them, token_type_ids: (W, T) int64,
            padded as `tokens.Encoder.pad` does; and where their tokens come from.

        Raises:
            BadRequest: see `tokens.Encoder.windows`.
        """
        found = self.encoder.windows(
            first,
            truncate=truncate,
            pair=second,
            overlap=self.overlap,
            limit=self.config.max_windows,
        )
        tokens = [each.tokens for each in found]
        source = first if second is None else second
        windows = Windows(source, tokens, self.overlap, tokens[0].truncated)
        return self.encoder.pad([each.tensors for each in found]), windows


def split(output: torch.Tensor, texts: Sequence[Tensors], shape: str) -> list[torch.Tensor]:
    """Split a model's output, (N, T, ...), by text: (W, T, ...) each.

    Args:
        output: the output for a batch of texts, as `tokens.Encoder.pad` makes it.
        texts: the tensors that `Reader.read` made of each, in order.
        shape: the shape that the model must answer, for messages.

    Raises:
        ModelError: it has other rows than the batch, or fewer tokens.
    """
    counts = [len(each["input_ids"]) for each in texts]
    wanted = [sum(counts), max(each["input_ids"].shape[1] for each in texts)]
    if output.ndim != shape.count(",") + 1 or list(output.shape[:2]) != wanted:
        raise ModelError(f"the model must answer {shape} of {wanted}, not {tuple(output.shape)}")
    return list(output.split(counts))


def once(windows: Windows) -> tuple[list[int], list[int]]:
    """The rows and columns of every token of the text, once and in order.

    A token that two windows share is taken from the one in which it is farther from the edge.
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
