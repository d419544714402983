"""Write many texts together, token by token; each begins and ends at any time.

A causal language model is called by position with

    input_ids     (N, T) int64     tokens that follow those in the cache; padded on the right
    past_tokens   (N,) int64       how many tokens of each sequence are in the cache
    past.0.key    (N, H, P, D)     float32, the cache: what follows `past_tokens` must not count
    past.0.value  (N, H, P, D)
    past.1.key    …

and answers logits (N, T, V) of what follows each token, and for every past.I.J what is new in it,
(N, H, T, D). Padding follows all that counts, so causal attention leaves it out.

A model may spare itself the logits that nobody looks at: all but the last of a prompt's, unless it
is scored. It then takes, as the third,

    logits_to_keep  (N, K) int64   the places in T whose logits are wanted

and answers logits (N, K, V).
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field

import torch

from handlers.batching import blame
from handlers.device import CPU
from handlers.errors import RAISED, HandlerError, ModelError
from handlers.generation import sampling
from handlers.generation.cache import KeyValueCache, empty, named
from handlers.generation.detokenizer import Detokenizer
from handlers.runtimes import Tensors
from handlers.task import similar_length

CHUNK = 64  # tokens of a prompt in one pass; other texts wait no longer than that


@dataclass(frozen=True)
class CacheShape:
    """The shape of a model's cache: its layers, the heads of keys in each, and their size."""

    layers: int
    heads: int
    size: int


@dataclass(eq=False)
class TokenSequence:
    """One text that is being written.

    Attributes:
        prompt: the prompt's tokens, at least one.
        options: how tokens are chosen.
        limit: the most tokens to write.
        detokenizer: turns tokens into text.
        score: whether to measure how likely the prompt is, too.
        truncated: whether the prompt is not all that was sent.
        seconds: the most time that it may take, from the first pass.
        text: what has been written so far.
        made: the tokens written.
        log_likelihood: the sum over the prompt's tokens but the first, in nats.
        reason: why it has ended: "stop", "length" or "time"; None before.
        error: why it has failed, if it has; then there is no answer.
        group: sequences of different groups take turns.
    """

    prompt: list[int]
    options: sampling.SamplingOptions
    limit: int
    detokenizer: Detokenizer
    score: bool = False
    truncated: bool = False
    seconds: float = float("inf")
    text: str = ""
    made: list[int] = field(default_factory=list)
    log_likelihood: float = 0.0
    reason: str | None = None
    error: HandlerError | None = None
    cached: int = 0
    until: float = float("inf")
    group: Hashable = None

    def __post_init__(self) -> None:
        self._seen = set(self.prompt)
        self._draw = random.Random(self.options.seed).random  # noqa: S311 - no secret

    @property
    def done(self) -> bool:
        """Whether it has ended or failed."""
        return self.reason is not None or self.error is not None

    @property
    def width(self) -> int:
        """How many slots it takes."""
        return 1

    @property
    def begins(self) -> bool:
        """Whether the model has yet to see some of the prompt's tokens."""
        return self.cached < len(self.prompt)

    def next(self) -> list[int]:
        """The tokens that the model is to see in the next pass."""
        if self.begins:
            return self.prompt[self.cached : self.cached + CHUNK]
        return self.made[-1:]

    def end(self, reason: str) -> None:
        """Write no more."""
        if not self.done:
            self.text += self.detokenizer.finish()
            self.reason = reason

    def expire(self) -> None:
        """Stop for lack of time; it is an error if the prompt has not been read to its end."""
        if self.begins and not self.done:
            why = "there was no time left for this"
            self.error = ModelError(why, hint="send less", status=503)
        self.end("time")

    def take(self, logits: torch.Tensor, ends: Collection[int]) -> None:
        """Choose the next token from logits (V,)."""
        if self.limit == 0:
            return self.end("length")
        token = sampling.choose(self.allowed(logits), self._seen, self.options, self._draw)
        self.made.append(token)
        self._seen.add(token)
        if token in ends:
            return self.end("stop")
        self.write(token)
        if self.detokenizer.stopped:
            return self.end("stop")
        if len(self.made) >= self.limit:
            return self.end("length")
        return None

    def write(self, token: int) -> None:
        """Add a token to the text."""
        self.text += self.detokenizer.add(token)

    def allowed(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (V,), minus infinity where a token must not come next."""
        return logits

    def measure(self, logits: torch.Tensor) -> None:
        """Add the log-likelihood of the prompt's next tokens, from logits (T, V)."""
        targets = self.prompt[self.cached + 1 : self.cached + 1 + len(logits)]
        scores = torch.log_softmax(logits[: len(targets)].double(), dim=1)
        found = scores[torch.arange(len(targets)), torch.tensor(targets, dtype=torch.int64)]
        self.log_likelihood += float(found.sum())
        if not math.isfinite(self.log_likelihood):
            raise ModelError("the model's logits are not finite", hint="check the input")


class Decoder:
    """Writes sequences together: they begin and end at any time, and don't change each other.

    Args:
        run: the model; named tensors in, named tensors out.
        shape: the shape of the model's cache.
        slots: how many sequences are written at once; others wait for their turn.
        ends: tokens that end a text.
        device: where the model runs, and its cache is.
        keeps: whether the model takes `logits_to_keep`.
    """

    def __init__(
        self,
        run: Callable[[Tensors], Tensors],
        shape: CacheShape,
        slots: int,
        ends: Collection[int],
        device: torch.device = CPU,
        *,
        keeps: bool = False,
    ) -> None:
        self._run, self._shape, self._slots, self._ends = run, shape, slots, ends
        self._keeps = keeps
        self._cache = KeyValueCache(slots, shape.layers, shape.heads, shape.size, device)
        self._caches = [self._cache]
        self._running: list[TokenSequence] = []  # by slot
        self._waiting: list[TokenSequence] = []

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._running or self._waiting)

    def add(self, sequence: TokenSequence, group: Hashable = None) -> None:
        """Add a sequence of a request; it joins the next pass that has a slot for it."""
        sequence.group = group
        self._waiting.append(sequence)

    def abort(self, sequence: TokenSequence) -> None:
        """Drop a sequence that no client waits for any more."""
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        elif sequence in self._running:
            self._drop(sequence)

    def step(self) -> None:
        """Run one pass for sequences that begin, and one for those on their way."""
        self._admit()
        for group in self._groups():
            if group:
                self._advance(group)
        now = time.monotonic()
        for sequence in self._running:
            if now > sequence.until:
                sequence.expire()
        self._sweep()

    def first(self, sequences: Sequence[TokenSequence], outputs: Tensors) -> None:
        """Add sequences, with the model's answer to their `prompts`."""
        self._waiting.extend(sequences)
        self._admit()
        self._absorb(sequences, outputs)
        self._sweep()

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._slots:
            slots = Counter(each.group for each in self._running)
            # The oldest of equals.
            sequence = min(self._waiting, key=lambda each: slots[each.group])
            if len(self._running) + sequence.width > self._slots:
                break
            self._waiting.remove(sequence)
            sequence.until = time.monotonic() + sequence.seconds
            self._enter(sequence)

    def _enter(self, sequence: TokenSequence) -> None:
        """Give a sequence the next slot."""
        self._running.append(sequence)

    def _groups(self) -> list[list[TokenSequence]]:
        """The sequences of each pass of a step: those that begin, by length, and the others."""
        beginning: dict[int, list[TokenSequence]] = defaultdict(list)
        for each in self._running:
            if each.begins:
                beginning[similar_length(len(each.next()))].append(each)
        return [*beginning.values(), [each for each in self._running if not each.begins]]

    def _advance(self, sequences: Sequence[TokenSequence]) -> None:
        try:
            self._absorb(sequences, self._run(self._inputs(sequences)))
            return
        except RAISED as error:  # a model may raise anything, and its neighbours must not notice
            if len(sequences) == 1:
                sequences[0].error = blame(error)
                return
        # After the `except`, as in `batching.run`.
        middle = len(sequences) // 2
        self._advance(sequences[:middle])
        self._advance(sequences[middle:])

    def _inputs(self, sequences: Sequence[TokenSequence]) -> Tensors:
        """The model's inputs for a pass of some sequences."""
        slots = [self._running.index(each) for each in sequences]
        cached = [each.cached for each in sequences]
        past = self._cache.read(slots, max(cached))
        following = [each.next() for each in sequences]
        keep = None
        if self._keeps:
            scored = any(each.score and each.begins for each in sequences)
            keep = every_place(following) if scored else [[len(each) - 1] for each in following]
        return inputs(following, cached, past, keep)

    def _absorb(self, sequences: Sequence[TokenSequence], outputs: Tensors) -> None:
        logits, *new = outputs.values()
        logits = logits.cpu()
        counts = [len(each.next()) for each in sequences]
        self._check(logits, new, len(sequences), max(counts))
        self._cache.fit(max(each.cached + len(each.next()) for each in self._running))
        slots = [self._running.index(each) for each in sequences]
        if max(counts) == 1:
            self._cache.write_one_each(slots, [each.cached for each in sequences], new)
        else:
            for place, (slot, sequence) in enumerate(zip(slots, sequences, strict=True)):
                self._cache.write(slot, sequence.cached, counts[place], place, new)
        for sequence, count, found in zip(sequences, counts, logits, strict=True):
            try:
                if sequence.score and sequence.begins:
                    sequence.measure(found[:count])
                sequence.cached += count
                if not sequence.begins:
                    sequence.take(found[min(count, len(found)) - 1], self._ends)
            except RAISED as error:  # this sequence alone fails
                sequence.error = blame(error)

    def _check(self, logits: torch.Tensor, new: Sequence[torch.Tensor], n: int, t: int) -> None:
        shape = self._shape
        wanted = [(n, shape.heads, t, shape.size)] * (2 * shape.layers)
        kept = (n, 1), (n, t)
        if (
            logits.ndim != 3
            or logits.shape[:2] not in (kept if self._keeps else kept[1:])
            or [tuple(x.shape) for x in new] != wanted
        ):
            raise ModelError(
                f"a language model answers logits ({n}, {t}, V) and {2 * shape.layers} tensors "
                f"{(n, shape.heads, t, shape.size)}, not "
                f"{[tuple(x.shape) for x in (logits, *new[:2])]} and so on",
                hint="are 'layers', 'key_value_heads' and 'head_size' the model's?",
            )

    def _sweep(self) -> None:
        for sequence in [each for each in self._running if each.done]:
            self._drop(sequence)
        if not self._running:
            for cache in self._caches:
                cache.fit(0)

    def _drop(self, sequence: TokenSequence) -> None:
        slot, last = self._running.index(sequence), self._running.pop()
        for cache in self._caches:
            if last is not sequence:
                cache.move(len(self._running), slot)
            cache.clear(len(self._running))
        if last is not sequence:
            self._running[slot] = last


def inputs(
    following: Sequence[Sequence[int]],
    cached: Sequence[int],
    past: Sequence[torch.Tensor],
    keep: Sequence[Sequence[int]] | None = None,
) -> Tensors:
    """The model's inputs for the next tokens of some sequences.

    Args:
        following: the next tokens of each sequence.
        cached: how many tokens of each are in its cache.
        past: their caches.
        keep: the places whose logits are wanted, where the model asks for them.
    """
    tokens = [torch.tensor(each) for each in following]
    ids = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
    kept = {} if keep is None else {"logits_to_keep": torch.tensor(keep)}
    return {"input_ids": ids, "past_tokens": torch.tensor(cached), **kept, **named(past)}


def every_place(following: Sequence[Sequence[int]]) -> list[list[int]]:
    """All places of the tokens, and of what they are padded with: (N, T)."""
    return [[*range(max(map(len, following)))]] * len(following)


def prompts(
    ids: Sequence[Sequence[int]],
    shape: CacheShape,
    device: torch.device = CPU,
    *,
    keeps: bool = False,
) -> Tensors:
    """The model's inputs for the beginnings of some prompts, given by their tokens.

    Args:
        ids: the tokens of each.
        shape: of the model's cache.
        device: where that is.
        keeps: whether the model takes `logits_to_keep`; all are wanted.
    """
    past = empty(len(ids), shape.layers, shape.heads, shape.size, device=device)
    first = [each[:CHUNK] for each in ids]
    return inputs(first, [0] * len(ids), past, every_place(first) if keeps else None)
