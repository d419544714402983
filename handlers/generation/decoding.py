"""Many texts written together, token by token: each begins and ends when it likes.

A causal language model is called by position with

    input_ids     (N, T) int64     tokens that follow those in the cache; padded on the right
    past_tokens   (N,) int64       how many tokens of each row are in the cache
    past.0.key    (N, H, P, D)     float32, the cache: what is behind `past_tokens` must not count
    past.0.value  (N, H, P, D)
    past.1.key    …

and answers logits (N, T, V), of what follows each token, and of every past.I.J what is new in it,
(N, H, T, D). What is padded stands behind all that counts, so causal attention leaves it out.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field

import torch

from handlers.batching import blame
from handlers.errors import HandlerError, ModelError
from handlers.generation import sampling
from handlers.generation.cache import Cache, empty, named
from handlers.generation.writing import Writer
from handlers.runtimes import Tensors

CHUNK = 64  # tokens of a prompt in one pass; what is written beside it waits no longer than that


@dataclass(frozen=True)
class Form:
    """What is known of a model: its layers, and in each the heads of keys and their size."""

    layers: int
    heads: int
    size: int


@dataclass(eq=False)
class Row:
    """One text that is being written.

    Attributes:
        prompt: its tokens, at least one.
        options: how tokens are chosen.
        limit: the most tokens to write.
        writer: makes text of them.
        score: measure how likely the prompt is, too.
        truncated: the prompt is not all that was sent.
        seconds: the most time to take, from the first pass.
        text: what has been written so far.
        made: the tokens written.
        log_likelihood: of all the prompt's tokens but the first, in nats.
        reason: why it has ended: "stop", "length" or "time"; None before.
        error: why it has failed; then there is no answer.
        group: rows of different groups take turns.
    """

    prompt: list[int]
    options: sampling.Options
    limit: int
    writer: Writer
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
        """Whether nothing more will come of it."""
        return self.reason is not None or self.error is not None

    @property
    def begins(self) -> bool:
        """Whether there are tokens of the prompt that the model has yet to see."""
        return self.cached < len(self.prompt)

    def next(self) -> list[int]:
        """The tokens that the model is to see in the next pass."""
        if self.begins:
            return self.prompt[self.cached : self.cached + CHUNK]
        return self.made[-1:]

    def end(self, reason: str) -> None:
        """Write no more."""
        if not self.done:
            self.text += self.writer.finish()
            self.reason = reason

    def expire(self) -> None:
        """Write no more, for want of time: what the prompt has not been read for is an error."""
        if self.begins and not self.done:
            why = "there was no time left for this"
            self.error = ModelError(why, hint="send less", status=503)
        self.end("time")

    def take(self, logits: torch.Tensor, ends: Collection[int]) -> None:
        """Choose the next token, of logits (V,)."""
        if self.limit == 0:
            return self.end("length")
        token = sampling.choose(logits, self._seen, self.options, self._draw)
        self.made.append(token)
        self._seen.add(token)
        if token in ends:
            return self.end("stop")
        self.text += self.writer.add(token)
        if self.writer.stopped:
            return self.end("stop")
        if len(self.made) >= self.limit:
            return self.end("length")
        return None

    def measure(self, logits: torch.Tensor) -> None:
        """Add how likely the prompt's tokens are that follow these, of logits (T, V)."""
        targets = self.prompt[self.cached + 1 : self.cached + 1 + len(logits)]
        scores = torch.log_softmax(logits[: len(targets)].double(), dim=1)
        found = scores[torch.arange(len(targets)), torch.tensor(targets, dtype=torch.int64)]
        self.log_likelihood += float(found.sum())
        if not math.isfinite(self.log_likelihood):
            raise ModelError("the model's logits are not finite", hint="check the input")


class Decoder:
    """Writes rows together: they join and end at any time, and never notice each other.

    Args:
        run: the model; named tensors in, named tensors out.
        form: of the model.
        slots: how many rows at once; others wait for their turn.
        ends: tokens that end a text.
    """

    def __init__(
        self, run: Callable[[Tensors], Tensors], form: Form, slots: int, ends: Collection[int]
    ) -> None:
        self._run, self._form, self._slots, self._ends = run, form, slots, ends
        self._cache = Cache(slots, form.layers, form.heads, form.size)
        self._rows: list[Row] = []  # by slot
        self._waiting: list[Row] = []

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._rows or self._waiting)

    def join(self, row: Row, group: Hashable = None) -> None:
        """Add a row, of a request; it takes part from the next pass that has a slot for it."""
        row.group = group
        self._waiting.append(row)

    def leave(self, row: Row) -> None:
        """Drop a row that nobody waits for any more."""
        if row in self._waiting:
            self._waiting.remove(row)
        elif row in self._rows:
            self._drop(row)

    def step(self) -> None:
        """One pass for those that begin, and one for those that are on their way."""
        self._admit()
        beginning = [row for row in self._rows if row.begins]
        going = [row for row in self._rows if not row.begins]
        for group in (beginning, going):
            if group:
                self._advance(group)
        now = time.monotonic()
        for row in self._rows:
            if now > row.until:
                row.expire()
        self._sweep()

    def first(self, rows: Sequence[Row], outputs: Tensors) -> None:
        """Let rows join with what the model has answered to their `prompts` already."""
        self._waiting.extend(rows)
        self._admit()
        self._absorb(rows, outputs)
        self._sweep()

    def _admit(self) -> None:
        while self._waiting and len(self._rows) < self._slots:
            running = Counter(row.group for row in self._rows)
            row = min(self._waiting, key=lambda row: running[row.group])  # of equals, the oldest
            self._waiting.remove(row)
            row.until = time.monotonic() + row.seconds
            self._rows.append(row)

    def _advance(self, rows: Sequence[Row]) -> None:
        try:
            slots = [self._rows.index(row) for row in rows]
            used = max(row.cached for row in rows)
            self._absorb(rows, self._run(inputs(rows, self._cache.read(slots, used))))
        except Exception as error:  # a model may raise anything, and its neighbours must not notice
            if len(rows) == 1:
                rows[0].error = blame(error)
                return
            middle = len(rows) // 2
            self._advance(rows[:middle])
            self._advance(rows[middle:])

    def _absorb(self, rows: Sequence[Row], outputs: Tensors) -> None:
        logits, *new = outputs.values()
        counts = [len(row.next()) for row in rows]
        self._check(logits, new, len(rows), max(counts))
        self._cache.fit(max(row.cached + len(row.next()) for row in self._rows))
        slots = [self._rows.index(row) for row in rows]
        if max(counts) == 1:
            self._cache.write_one_each(slots, [row.cached for row in rows], new)
        else:
            for place, (slot, row) in enumerate(zip(slots, rows, strict=True)):
                self._cache.write(slot, row.cached, counts[place], place, new)
        for row, count, found in zip(rows, counts, logits, strict=True):
            try:
                if row.score and row.begins:
                    row.measure(found[:count])
                row.cached += count
                if not row.begins:
                    row.take(found[count - 1], self._ends)
            except Exception as error:  # of this row alone
                row.error = blame(error)

    def _check(self, logits: torch.Tensor, new: Sequence[torch.Tensor], n: int, t: int) -> None:
        form = self._form
        wanted = [(n, form.heads, t, form.size)] * (2 * form.layers)
        if (
            logits.ndim != 3
            or logits.shape[:2] != (n, t)
            or [tuple(x.shape) for x in new] != wanted
        ):
            raise ModelError(
                f"a language model answers logits ({n}, {t}, V) and {2 * form.layers} tensors "
                f"{(n, form.heads, t, form.size)}, not "
                f"{[tuple(x.shape) for x in (logits, *new[:2])]} and so on",
                hint="are 'layers', 'key_value_heads' and 'head_size' the model's?",
            )

    def _sweep(self) -> None:
        for row in [row for row in self._rows if row.done]:
            self._drop(row)
        if not self._rows:
            self._cache.fit(0)

    def _drop(self, row: Row) -> None:
        slot, last = self._rows.index(row), self._rows.pop()
        if last is not row:
            self._cache.move(len(self._rows), slot)
            self._rows[slot] = last
        self._cache.clear(len(self._rows))


def inputs(rows: Sequence[Row], past: Sequence[torch.Tensor]) -> Tensors:
    """What the model is called with for the next tokens of some rows.

    Args:
        rows: which see some of their prompt, or their latest token.
        past: their caches.
    """
    following = [torch.tensor(row.next()) for row in rows]
    ids = torch.nn.utils.rnn.pad_sequence(following, batch_first=True)
    past_tokens = torch.tensor([row.cached for row in rows])
    return {"input_ids": ids, "past_tokens": past_tokens, **named(past)}


def prompts(rows: Sequence[Row], form: Form) -> Tensors:
    """What the model is called with at first."""
    return inputs(rows, empty(len(rows), form.layers, form.heads, form.size))
