"""Write texts that have a source: an encoder reads it, and a decoder looks at what was read.

An encoder–decoder is one model, called by position with

    source_ids            (N, S) int64     the source's tokens, padded on the right
    source_tokens         (N,) int64       how many of them there are; 0 once they have been read
    cached_source         (N,) int64       how many tokens of the source are in the source's cache
    input_ids             (N, T) int64     the decoder's tokens, as `decoding` has them
    past_tokens           (N,) int64       how many tokens are in the cache
    past.0.key            (N, H, P, D)     float32, and so on: the cache
    source_past.0.key     (N, H, C, D)     float32, and so on: keys and values of the source

and answers logits (N, T, V), what is new in the cache, (N, H, T, D) each, and the source's keys and
values, (N, H, S, D) each. A pass that begins a text has its source; the others have one token that
counts for nothing, and read the source's keys and values from the cache. A source that is no text
comes under another name, as its `Sources` say: `source_tokens` then counts what the encoder makes
of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch

from handlers.batching import blame
from handlers.device import CPU
from handlers.errors import RAISED, ModelError
from handlers.generation import decoding, rules, sampling
from handlers.generation.beams import BeamOptions, BeamSearch
from handlers.generation.cache import BLOCK, KeyValueCache, empty, named
from handlers.generation.decoding import CacheShape, Decoder, TokenSequence
from handlers.generation.detokenizer import Detokenizer
from handlers.generation.rules import Rules
from handlers.runtimes import Tensors
from handlers.task import similar_length

STEP = 8  # a source's length is a multiple of it: engines keep something for every shape


@dataclass(frozen=True, kw_only=True)
class WritingOptions(sampling.SamplingOptions, rules.RuleOptions, BeamOptions):
    """The options of how a text is written."""


@dataclass(eq=False)
class SourcedSequence(TokenSequence):
    """A text that is written for a source, or one of the texts of a beam search for it.

    Attributes:
        source: the source; its length counts what the encoder makes of it.
        rules: what may be written.
        asked: `options`, with those of the search.
        search: the beam search that it belongs to, if there is one.
        beams: in the first text of a search, the others.
        found: (V,), what its search is to choose from.
    """

    source: Sized = ()
    rules: Rules = field(default_factory=Rules)
    asked: WritingOptions = field(default_factory=WritingOptions)
    search: BeamSearch | None = None
    beams: list[SourcedSequence] = field(default_factory=list)
    found: torch.Tensor | None = None

    @property
    def width(self) -> int:
        """How many slots it takes."""
        return 1 + len(self.beams)

    def allowed(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (V,), minus infinity where a token must not come next."""
        return rules.apply(logits, self.prompt, self.made, self.limit, self.rules, self.asked)

    def take(self, logits: torch.Tensor, ends: Collection[int]) -> None:
        """Choose the next token, or leave it to the search."""
        if self.search is None or self.limit == 0:
            return super().take(logits, self.rules.ends)
        scores, penalty = torch.log_softmax(logits.float(), dim=0), self.asked.repetition_penalty
        if penalty != 1:
            scores = sampling.penalised(scores, {*self.prompt, *self.made}, penalty)
        self.found = self.allowed(scores)
        return None

    def end(self, reason: str) -> None:
        """Write no more; the best text of a search is the text."""
        if self.search and not self.beams:  # the first text of the search speaks for all
            self.reason = self.reason or reason
            return
        if self.search and self.limit and not self.done:
            self.made = list(self.search.best)
            ended = bool(self.made) and self.made[-1] in self.rules.ends
            for token in self.made[: len(self.made) - ended]:
                self.write(token)
            reason = "stop" if ended else reason
        self.close(reason)

    def close(self, reason: str) -> None:
        """Write no more, now that its tokens are known."""
        super().end(reason)

    def search_on(self) -> list[int]:
        """Let the search choose, for the first text of it; the parent of each text that goes on."""
        assert self.search is not None  # noqa: S101 - it is asked only where there is one
        texts = [self, *self.beams]
        first = not self.search.texts[0]
        scores = [(self if first else each).found for each in texts]
        parents = self.search.choose(torch.stack([each for each in scores if each is not None]))
        for each, made in zip(texts, self.search.texts, strict=True):
            each.made, each.found = made, None
            each.cached = self.cached
        if self.search.over:
            self.end("length")
        return parents


S = TypeVar("S", bound=SourcedSequence)


def sequence(
    kind: type[S],
    prompt: list[int],
    source: Sized,
    options: WritingOptions,
    limit: int,
    written_by: Rules,
    detokenizer: Detokenizer,
    **others: Any,
) -> S:
    """A text that is to be written, with its beams if there are several.

    Args:
        kind: its class.
        prompt: the tokens that the decoder begins with.
        source: the source.
        options: the request's.
        limit: the most tokens to write.
        written_by: the model's rules.
        detokenizer: turns tokens into text.
        others: further attributes of its class.
    """
    search = None
    if options.num_beams > 1:
        search = BeamSearch(options, limit, written_by.ends)

    def one(beams: list[SourcedSequence]) -> S:
        return kind(
            prompt, options, limit, detokenizer,
            source=source, rules=written_by, asked=options, search=search, beams=beams, **others,
        )  # fmt: skip

    return one([one([]) for _ in range(options.num_beams - 1)])


class Sources(ABC):
    """How sources become a batch.

    Attributes:
        varying: the axes of their tensors whose length differs from batch to batch.
    """

    varying: ClassVar[dict[str, tuple[int, ...]]]

    @property
    def usual(self) -> int:
        """How many tokens of a source there usually are in the cache."""
        return BLOCK

    @abstractmethod
    def batch(self, read: Sequence[Any]) -> Tensors:
        """The model's inputs of some sources.

        Args:
            read: one for each row; None where it has been read already, or counts for nothing.

        Returns:
            The sources, and `source_tokens`, (N,) int64; at least one token each.
        """


@dataclass(frozen=True)
class TokenSources(Sources):
    """Sources that are lists of tokens.

    Attributes:
        longest: the most tokens of a source.
        pad: the token behind shorter ones.
    """

    varying = {"source_ids": (1,)}

    longest: int
    pad: int

    def batch(self, read: Sequence[Sequence[int] | None]) -> Tensors:
        """`source_ids`, (N, S) int64, and `source_tokens`."""
        counts = [len(each or ()) for each in read]
        longest = max(counts)
        size = max(1, longest, min(-(-longest // STEP) * STEP, self.longest))
        ids = torch.full((len(read), size), self.pad)
        for row, each in enumerate(read):
            ids[row, : counts[row]] = torch.tensor(each or (), dtype=torch.int64)
        return {"source_ids": ids, "source_tokens": torch.tensor(counts)}


class SourcedDecoder(Decoder):
    """Writes texts with their sources together; see `Decoder`.

    Args:
        run: the model; named tensors in, named tensors out.
        shape: the shape of the decoder's cache, and of the source's.
        slots: how many texts, or beams, are written at once.
        sources: how sources become a batch.
        device: where the model runs, and its caches are.
    """

    def __init__(
        self,
        run: Callable[[Tensors], Tensors],
        shape: CacheShape,
        slots: int,
        sources: Sources,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(run, shape, slots, (), device)
        self._of_sources = KeyValueCache(slots, shape.layers, shape.heads, shape.size, device)
        self._caches.append(self._of_sources)
        self._sources = sources

    def abort(self, sequence: TokenSequence) -> None:
        """Drop a text that no client waits for any more, and its beams."""
        for each in (sequence, *_of(sequence).beams):
            super().abort(each)

    def _enter(self, sequence: TokenSequence) -> None:
        super()._enter(sequence)
        self._running += _of(sequence).beams

    def _groups(self) -> list[list[TokenSequence]]:
        """Texts that begin, of like sources together: padding costs time, too; then the others."""
        beginning: dict[int, list[TokenSequence]] = defaultdict(list)
        for each in self._running:
            if each.begins and not self._rests(each):
                beginning[similar_length(len(_of(each).source))].append(each)
        return [*beginning.values(), [each for each in self._running if not each.begins]]

    def _rests(self, sequence: TokenSequence) -> bool:
        """Whether it is a beam whose search has yet to begin: the first text reads for all."""
        return _of(sequence).search is not None and not _of(sequence).beams

    def _inputs(self, sequences: Sequence[TokenSequence]) -> Tensors:
        slots = [self._running.index(each) for each in sequences]
        begin = [not each.cached for each in sequences]
        texts = [_of(each).source for each in sequences]
        lengths = [0 if new else len(text) for new, text in zip(begin, texts, strict=True)]
        past = self._of_sources.read(slots, max(lengths))
        read = [text if new else None for new, text in zip(begin, texts, strict=True)]
        return inputs(read, lengths, past, super()._inputs(sequences), self._sources)

    def _absorb(self, sequences: Sequence[TokenSequence], outputs: Tensors) -> None:
        count = 1 + 2 * self._shape.layers
        mine, made = dict(list(outputs.items())[:count]), list(outputs.values())[count:]
        new = {row: each for row, each in enumerate(sequences) if not each.cached}
        if new:
            self._check_sources(made, sequences)
            self._of_sources.fit(max(len(_of(each).source) for each in self._running))
        for row, each in new.items():
            slot = self._running.index(each)
            self._of_sources.write(slot, 0, len(_of(each).source), row, made)
        super()._absorb(sequences, mine)
        for each in [*self._running]:
            self._search(_of(each))

    def _check_sources(
        self, made: Sequence[torch.Tensor], sequences: Sequence[TokenSequence]
    ) -> None:
        shape, longest = self._shape, max(len(_of(each).source) for each in sequences)
        fits = len(made) == 2 * shape.layers and all(
            x.ndim == 4
            and (len(x), x.shape[1], x.shape[3]) == (len(sequences), shape.heads, shape.size)
            and x.shape[2] >= longest
            for x in made
        )
        if not fits:
            raise ModelError(
                f"an encoder-decoder answers {2 * shape.layers} tensors "
                f"({len(sequences)}, {shape.heads}, S, {shape.size}) of the source behind its "
                f"cache, not {[tuple(x.shape) for x in made[:2]]} and so on",
                hint="are 'layers', 'key_value_heads' and 'head_size' the decoder's?",
            )

    def _search(self, first: SourcedSequence) -> None:
        """Let a search go on whose texts have all been seen by the model."""
        if not first.search or not first.beams or first.done:
            return
        texts: list[SourcedSequence] = [first, *first.beams]
        failed = next((each.error for each in texts if each.error), None)
        begins = not first.search.texts[0]
        if failed or any(each.found is None for each in (texts[:1] if begins else texts)):
            first.error = failed
            return
        slots = [self._running.index(each) for each in texts]
        try:
            parents = first.search_on()
        except RAISED as error:  # this search alone fails
            first.error = blame(error)
            return
        sources = [slots[0 if begins else parent] for parent in parents]
        if sources != slots:
            for cache in self._caches:
                cache.reorder(slots, sources)

    def _sweep(self) -> None:
        for each in self._running:
            if each.done:
                for beam in _of(each).beams:
                    beam.end("stop")
        super()._sweep()


def _of(sequence: TokenSequence) -> SourcedSequence:
    assert isinstance(sequence, SourcedSequence)  # noqa: S101 - it takes no others
    return sequence


def inputs(
    read: Sequence[Sized | None],
    cached: Sequence[int],
    past: Sequence[torch.Tensor],
    decoder: Tensors,
    sources: Sources,
) -> Tensors:
    """The model's inputs for a pass.

    Args:
        read: the source of each text that begins; None for the others.
        cached: how many tokens of each source are in its cache.
        past: these caches.
        decoder: what `decoding.inputs` made.
        sources: how sources become a batch.
    """
    return {
        **sources.batch(read),
        "cached_source": torch.tensor(cached),
        **decoder,
        **named(past, "source_past"),
    }


def beginnings(
    prompts: Sequence[Sequence[int]],
    read: Sequence[Sized],
    shape: CacheShape,
    sources: Sources,
    device: torch.device = CPU,
) -> Tensors:
    """The model's inputs for the first pass of some texts: what they begin with, and sources."""
    past = empty(len(read), shape.layers, shape.heads, shape.size, device=device)
    decoder = decoding.prompts(prompts, shape, device)
    return inputs(read, [0] * len(read), past, decoder, sources)
