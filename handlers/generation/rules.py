"""Which tokens may come next, whatever the model says: forced ones, and those that must not.

Each means what it means to transformers' `generate`, in the same order; lengths count the tokens
that are written, without those that the decoder begins with. See:
transformers/generation/logits_process.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from handlers.schema import setting

NEVER = -torch.inf


@dataclass(frozen=True)
class Rules:
    """The rules of a model, by the numbers of tokens.

    Attributes:
        ends: tokens that end a text.
        first: the first token of every text, if there is one.
        last: of a text that reaches its longest, the last token must be one of these, if any.
        suppressed: tokens that are never written.
        suppressed_first: tokens that a text doesn't begin with, or go on with behind `first`.
    """

    ends: Collection[int] = ()
    first: int | None = None
    last: Collection[int] = ()
    suppressed: Collection[int] = ()
    suppressed_first: Collection[int] = ()


@dataclass(frozen=True, kw_only=True)
class RuleOptions:
    """What a request may ask of the tokens that are written."""

    min_new_tokens: int = setting(0, "Tokens before which the text doesn't end.", minimum=0)
    no_repeat_ngram_size: int = setting(
        0, "No tokens of this number come twice in the same order; 0 allows it.", minimum=0
    )


def apply(
    scores: torch.Tensor,
    before: Sequence[int],
    made: Sequence[int],
    limit: int,
    rules: Rules,
    options: RuleOptions,
) -> torch.Tensor:
    """Change the scores of one text's next token.

    Args:
        scores: (V,), logits or their logarithms of probabilities; it is not changed.
        before: the tokens that the decoder began with.
        made: the tokens that have been written.
        limit: the most tokens to write.
        rules: the model's.
        options: the request's.

    Returns:
        (V,), minus infinity for what must not come, 0 for what must.
    """
    scores, count = scores.clone(), len(made)
    if options.no_repeat_ngram_size:
        scores[_repeated([*before, *made], options.no_repeat_ngram_size)] = NEVER
    if count < options.min_new_tokens:
        scores[list(rules.ends)] = NEVER
    forced = [rules.first] if rules.first is not None and len(before) == 1 and not count else []
    if rules.last and count == limit - 1:
        forced = [*rules.last]
    if forced:
        scores[:] = NEVER
        scores[forced] = 0
    scores[list(rules.suppressed)] = NEVER
    behind_first = rules.first is not None and len(before) == 1
    if count == int(behind_first):
        scores[list(rules.suppressed_first)] = NEVER
    return scores


def _repeated(ids: Sequence[int], size: int) -> list[int]:
    """The tokens that would end a sequence of `size` that has been there before."""
    tail = list(ids[len(ids) - size + 1 :]) if len(ids) >= size - 1 else None
    if tail is None:
        return []
    places = range(len(ids) - size + 1)
    return [ids[at + size - 1] for at in places if list(ids[at : at + size - 1]) == tail]
