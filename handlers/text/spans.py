"""Spans: find where answers begin and end, from logits of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from handlers.errors import ModelError


@dataclass(frozen=True)
class Span:
    """Tokens `first` to `last` of a window, both included."""

    score: float
    window: int
    first: int
    last: int


def best(
    starts: torch.Tensor,
    ends: torch.Tensor,
    allowed: torch.Tensor,
    null: torch.Tensor,
    *,
    count: int,
    longest: int,
) -> tuple[list[Span], float]:
    """Find the best spans of all windows, and the score that there is none.

    A span's score is the probability that it begins at its first token times the probability
    that it ends at its last; both are over the allowed tokens of its window and the null token.

    Args:
        starts: (W, T) float32 logits of where an answer begins.
        ends: (W, T) float32 logits of where it ends.
        allowed: (W, T) bool; which tokens may be in an answer.
        null: (W, T) bool; at most one token of each window, which stands for "there is none".
        count: the most spans.
        longest: the most tokens of a span.

    Returns:
        The spans, best first, and the least of all windows' scores of the null token.

    Raises:
        ModelError: a logit that counts is not finite.

    See: J. Devlin et al., BERT, 2018, section 4.3, for the null token.
    """
    known = allowed | null
    starts, ends = (_probabilities(logits, known) for logits in (starts, ends))
    none = torch.where(null, starts * ends, 0.0).sum(dim=1).min()
    starts, ends = (torch.where(allowed, each, 0.0) for each in (starts, ends))
    longest = min(longest, starts.shape[1])
    windows = torch.nn.functional.pad(ends, (0, longest - 1)).unfold(1, longest, 1)
    scores = starts[..., None] * windows  # (W, T, L): by window, first token and length
    found = scores.flatten().topk(min(count, scores.numel()))
    spans = []
    for score, place in zip(found.values.tolist(), found.indices.tolist(), strict=True):
        if score == 0:
            break
        first, more = divmod(place % (scores.shape[1] * longest), longest)
        spans.append(Span(score, place // (scores.shape[1] * longest), first, first + more))
    return spans, float(none)


def _probabilities(logits: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Softmax over the known tokens of each window, 0 elsewhere; all 0 where none is known."""
    found = torch.softmax(logits.masked_fill(~known, -torch.inf), dim=1)
    found = torch.where(known, found, 0.0)
    if not torch.isfinite(found).all():
        raise ModelError("the model's answer is not finite", hint="check the input")
    return found
