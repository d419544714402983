"""Serve texts that have a source: what the tasks of encoder–decoders share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from handlers.errors import LoadError
from handlers.generation import handler
from handlers.generation.beams import MOST
from handlers.generation.cache import BLOCK, empty, named
from handlers.generation.decoding import CacheShape
from handlers.generation.sourced import SourcedDecoder, SourcedSequence, Sources, inputs
from handlers.runtimes import Tensors
from handlers.schema import setting
from handlers.task import M, O, Sample

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class SourcedConfig(handler.GenerationConfig):
    """The shape of the model's caches, and what its texts begin and end with."""

    max_target_tokens: int = setting(
        512, "The most tokens of what is written, with those that it begins with.", minimum=2
    )
    layers: int = setting(0, "The decoder's layers, each of which has two caches.", minimum=1)
    key_value_heads: int = setting(0, "Heads of keys and values in a layer.", minimum=1)
    head_size: int = setting(0, "Numbers in a key, and in a value.", minimum=1)
    start_token: str = setting("", "The token that the decoder begins with.")
    stop_tokens: tuple[str, ...] = setting((), "Tokens that end a text.")
    suppressed_tokens: tuple[str, ...] = setting((), "Tokens that are never written.")
    suppressed_first: tuple[str, ...] = setting((), "Tokens that no text begins with.")


C = TypeVar("C", bound=SourcedConfig)


class SourcedHandler(handler.GenerationHandler[C, O, M]):
    """A task of an encoder–decoder; see `sourced` for its inputs. Its `setup` calls `prepare`."""

    def prepare(self, tokenizer: Tokenizer, sources: Sources) -> None:
        """Take what texts are made of.

        Args:
            tokenizer: the decoder's.
            sources: how sources become a batch.

        Raises:
            LoadError: the settings lack something of the decoder.
        """
        config = self.config
        if not (config.layers and config.key_value_heads and config.head_size):
            raise LoadError("'layers', 'key_value_heads' and 'head_size' must be the decoder's")
        if not config.start_token:
            raise LoadError("'start_token' must say what the decoder begins with")
        self.shape = CacheShape(config.layers, config.key_value_heads, config.head_size)
        self.tokenizer, self.sources = tokenizer, sources
        self.start = [self.number(config.start_token)]

    def number(self, token: str) -> int:
        """The number of a token that the settings name."""
        number: int | None = self.tokenizer.token_to_id(token)
        if number is None:
            raise LoadError(f"{token!r} in the settings is not a token of the tokenizer")
        return number

    def numbers(self, tokens: Iterable[str]) -> frozenset[int]:
        """The numbers of tokens that the settings name."""
        return frozenset(map(self.number, tokens))

    def decoder(self, slots: int) -> SourcedDecoder:
        """A decoder that writes sequences with the model."""
        slots = max(slots, MOST)
        return SourcedDecoder(self.inference, self.shape, slots, self.sources, self.device)

    def typical(self, samples: Sequence[Sample[O, M]]) -> Tensors:
        """One token each, with caches of a block: most of the time is spent on that."""
        count, shape, read = len(samples), self.shape, self.sources.usual
        room = -(-read // BLOCK) * BLOCK
        mine, its = (
            empty(count, shape.layers, shape.heads, shape.size, size, device=self.device)
            for size in (BLOCK, room)
        )
        decoder = {
            "input_ids": torch.tensor([self.start[:1]] * count),
            "past_tokens": torch.full((count,), BLOCK),
            **named(mine),
        }
        return inputs([None] * count, [read] * count, its, decoder, self.sources)

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes of tokens, and of the caches' room for tokens."""
        cache = empty(1, self.shape.layers, 1, 1)
        caches = [*named(cache), *named(cache, "source_past")]
        return {**self.sources.varying, "input_ids": (1,), **dict.fromkeys(caches, (2,))}

    @abstractmethod
    def sequence(self, sample: Sample[O, M]) -> SourcedSequence:
        """The sequence that is to be written for a sample."""

    def answer(self, outputs: Tensors, samples: Sequence[Sample[O, M]]) -> list[handler.Written]:
        """Write each text, after the model has run on the sources and the beginnings."""
        sequences = [self.sequence(sample) for sample in samples]
        decoder = self.decoder(sum(each.width for each in sequences))
        decoder.first(sequences, outputs)
        while decoder.busy:
            decoder.step()
        for each in sequences:
            if each.error:
                raise each.error
        return [self.written(each) for each in sequences]
