"""Tokens: convert texts to tokens, and tokens to padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from handlers.errors import BadRequest, LoadError
from handlers.runtimes import Tensors
from handlers.text import cutting
from handlers.text.text import TextConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

T = TypeVar("T")

PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>")
STEP = 8  # a batch's length is a multiple of it: engines keep something for every shape
GROWTH = 18  # the most characters that one may become in Unicode's NFKC


@dataclass(frozen=True)
class Tokens:
    """Where tokens come from.

    Attributes:
        truncated: whether tokens were left out.
        offsets: (start, end) of each token in the caller's own text, in code points. Tokens that
            a tokenizer adds have (0, 0), and normalised ones the place they were made from.
        sequences: 0 for each token of the first text, 1 of the second; None for special ones.
    """

    truncated: bool
    offsets: list[tuple[int, int]]
    sequences: list[int | None]


class Encoded(NamedTuple):
    """A text, or two, as tokens.

    Attributes:
        tensors: input_ids, attention_mask and, if the model takes them, token_type_ids: (T,) int64.
        tokens: where they come from.
    """

    tensors: Tensors
    tokens: Tokens


class _All(NamedTuple):
    """The number, type, place and sequence of each token of a whole text; see `Tokens`."""

    ids: list[int]
    types: list[int]
    offsets: list[tuple[int, int]]
    sequences: list[int | None]


def load(path: Path) -> Tokenizer:
    """Read a tokenizer.

    Args:
        path: a `tokenizer.json` that the tokenizers library wrote.

    Raises:
        LoadError: tokenizers is missing, or the file can't be read.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise LoadError("text needs tokenizers", hint="pip install tokenizers") from error
    if not path.is_file():
        raise LoadError(
            f"there is no tokenizer {path.name} in this archive",
            hint="name the file under 'files' in the recipe",
        )
    try:
        found: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no other
        raise LoadError(f"{path.name} is not a tokenizer: {error}") from error
    return found


class Encoder:
    """A tokenizer, which cuts texts that are too long and leaves padding to `pad`.

    Args:
        path: a `tokenizer.json` that the tokenizers library wrote.
        config: the most tokens, and which inputs the model takes.
        names: the tokenizer that numbers tokens, by their names; the one of `path` if there is
            no other.

    Attributes:
        tokenizer: what splits texts.
        names: what numbers tokens.
        pad_id: the number of the token that fills shorter texts.

    Raises:
        LoadError: tokenizers is missing, the file can't be read, or nothing would fit.
    """

    def __init__(self, path: Path, config: TextConfig, names: Tokenizer | None = None) -> None:
        self.tokenizer = load(path)
        self.names = self.tokenizer if names is None else names
        self._numbers = None if names is None else names.get_vocab()
        special = self.tokenizer.num_special_tokens_to_add(False)
        if config.max_tokens <= special:
            raise LoadError(f"'max_tokens' must be more than the {special} special tokens")
        self.pad_id = _pad_id(self.names)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()  # see `cutting`
        self.config = config

    def encode(
        self,
        text: str,
        *,
        truncate: bool = True,
        pair: str | None = None,
        truncation: cutting.Truncation = "longest_first",
    ) -> Encoded:
        """Convert a text, or two, to tokens.

        Args:
            text: the first text.
            truncate: whether it may be cut.
            pair: the second.
            truncation: which of two is cut; always at its end.

        Returns:
            1 to `max_tokens` tokens.

        Raises:
            BadRequest: there are too many tokens and none may be cut, or there are none.
        """
        tokens = self._tokens(text, pair)
        sequences, most = tokens.sequences, self.config.max_tokens
        if len(sequences) <= most:
            return self._at(tokens, range(len(sequences)))
        if not truncate:
            raise BadRequest(
                f"the text has more than {most} tokens",
                hint="send less, or allow 'truncate'",
                status=422,
            )
        places = cutting.first(sequences, most, "only_first" if pair is None else truncation)
        return self._at(tokens, places, truncated=True)

    def leading(self, text: str) -> int:
        """How many tokens a text is at the beginning of a longer one, special ones included.

        A special token behind the text is behind the longer one, too, and doesn't count.
        """
        ids = self.encode(text).tensors["input_ids"].tolist()
        last = self.names.get_added_tokens_decoder().get(ids[-1])
        return len(ids) - (last is not None and last.special)

    def windows(
        self, text: str, *, truncate: bool = True, pair: str | None = None, overlap: int, limit: int
    ) -> list[Encoded]:
        """Convert a text, or the second of two, to tokens in windows of at most `max_tokens`.

        Args:
            text: the text; or the first of two, which is whole in every window.
            truncate: whether it may be cut.
            pair: the second.
            overlap: how many tokens of a window are in the next one, too.
            limit: how many windows there may be.

        Returns:
            One window or more, as from `encode`; all are truncated when there would be more than
            `limit`.

        Raises:
            BadRequest: there would be more and nothing may be cut, or there are no tokens, or
                too many of the first text.
        """
        tokens = self._tokens(text, pair)
        windows, cut = cutting.windows(
            tokens.sequences,
            self.config.max_tokens,
            moving=0 if pair is None else 1,
            overlap=overlap,
            limit=limit,
            truncate=truncate,
        )
        return [self._at(tokens, places, truncated=cut) for places in windows]

    def _tokens(self, text: str, pair: str | None) -> _All:
        self._check_normalised(text, pair or "")
        encoding = self.tokenizer.encode(text, pair)
        # The library makes a list anew whenever it is asked for one.
        ids = encoding.ids if self._numbers is None else self._numbered(encoding.tokens)
        found = _All(ids, encoding.type_ids, encoding.offsets, encoding.sequence_ids)
        if not found.ids:
            raise BadRequest("the text has no tokens in it", status=422)
        return found

    def _numbered(self, tokens: Sequence[str]) -> list[int]:
        """The numbers that tokens have by their names; of what has none, the unknown token's."""
        numbers = self._numbers or {}
        unknown = numbers.get(str(getattr(self.names.model, "unk_token", None)), 0)
        return [numbers.get(token, unknown) for token in tokens]

    def _check_normalised(self, *texts: str) -> None:
        """Refuse texts that become too long: a ligature may become eighteen letters."""
        normalizer, most = self.tokenizer.normalizer, self.config.max_characters
        if normalizer is None or sum(map(len, texts)) * GROWTH <= most:
            return
        count = sum(len(normalizer.normalize_str(each)) for each in texts)
        if count > most:
            raise BadRequest(
                f"the text has {count} characters when normalised; at most {most} are allowed",
                status=413,
            )

    def _at(self, tokens: _All, places: Sequence[int], *, truncated: bool = False) -> Encoded:
        """The tokens at some places of all."""

        def of(values: Sequence[T]) -> list[T]:
            return [values[place] for place in places]

        ids = torch.tensor(of(tokens.ids))
        tensors = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self.config.token_types:
            tensors["token_type_ids"] = torch.tensor(of(tokens.types))
        return Encoded(tensors, Tokens(truncated, of(tokens.offsets), of(tokens.sequences)))

    def pad(self, texts: Sequence[Tensors]) -> Tensors:
        """Combine tensors of texts into a batch, (N, T) int64, each padded on the right.

        T is the longest length, rounded up to a multiple of STEP, but not above `max_tokens`.
        Padding is masked: each text gets the answer that it would get alone. Tensors of several
        rows, (R, T), have as many rows in the batch.
        """
        batch = {}
        for name in texts[0]:
            rows = [row for each in texts for row in torch.atleast_2d(each[name])]
            value = self.pad_id if name == "input_ids" else 0
            padded = pad_sequence(rows, batch_first=True, padding_value=value)
            longest = padded.shape[1]
            rounded = max(longest, min(-(-longest // STEP) * STEP, self.config.max_tokens))
            batch[name] = pad(padded, (0, rounded - longest), value=value)
        return batch

    @property
    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes of each input of a batch that differ from request to request."""
        names = ["input_ids", "attention_mask"]
        return dict.fromkeys([*names, "token_type_ids"] if self.config.token_types else names, (1,))


def _pad_id(tokenizer: Tokenizer) -> int:
    # Masked, but some models number positions by it.
    if tokenizer.padding:
        return int(tokenizer.padding["pad_id"])
    ids = (tokenizer.token_to_id(token) for token in PAD_TOKENS)
    return next((number for number in ids if number is not None), 0)
