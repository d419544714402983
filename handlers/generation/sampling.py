"""Choose the next token: the likeliest, or a random one, as the request asks.

Options that transformers' `generate` has, too, mean the same here. What is chosen for one text
does not depend on its neighbours. See: transformers/generation/logits_process.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch

from handlers.errors import ModelError
from handlers.schema import setting

HEAD = 1024  # tokens that nearly always hold `top_p` of the probability; sorting all takes longer
COLDEST = 1e-4  # a temperature below it is as good as 0, and would overflow


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """The options of how tokens are chosen."""

    temperature: float = setting(
        0.0,
        "0 takes the likeliest token; above it tokens are drawn, the more evenly the higher.",
        minimum=0,
        maximum=100,
    )
    top_k: int = setting(0, "Draw from this many likeliest tokens; 0 from all.", minimum=0)
    top_p: float = setting(
        1.0,
        "Draw from the likeliest tokens that together have this probability.",
        minimum=0,
        maximum=1,
    )
    repetition_penalty: float = setting(
        1.0, "Above 1, tokens that have come before become less likely.", minimum=0.01, maximum=100
    )
    seed: int | None = setting(
        None, "The same seed draws the same text, in any batch; random by default.",
        minimum=0, maximum=2**63 - 1,
    )  # fmt: skip


def choose(
    logits: torch.Tensor, seen: Collection[int], options: SamplingOptions, draw: Callable[[], float]
) -> int:
    """Choose the next token of one text.

    Args:
        logits: (V,), one for every token.
        seen: the tokens of the prompt, and those that follow it.
        options: the request's.
        draw: gives a random number in [0, 1); called once, unless the likeliest is wanted.

    Raises:
        ModelError: the logits are not finite.
    """
    scores = logits
    if options.repetition_penalty != 1 and seen:
        scores = penalised(logits.double(), seen, options.repetition_penalty)
    best = int(scores.argmax())
    if not math.isfinite(float(scores[best])):  # argmax gives the position of a NaN
        raise ModelError("the model's logits are not finite", hint="check the input")
    if options.temperature == 0:
        return best
    scores = scores.double() / max(options.temperature, COLDEST)
    kept = _likeliest(scores, options.top_k, options.top_p)
    sums = torch.softmax(scores[kept], dim=0).cumsum(0)
    # In the vocabulary's order, so that two tokens that are almost equally likely don't swap.
    place = torch.searchsorted(sums, draw() * float(sums[-1]), right=True)
    return int(kept[place.clamp(max=len(kept) - 1)])


def penalised(scores: torch.Tensor, seen: Collection[int], penalty: float) -> torch.Tensor:
    """Scores that are smaller for tokens seen before.

    See: N. S. Keskar et al., CTRL, 2019, section 4.1.
    """
    ids = torch.tensor(sorted(seen))
    ids = ids[ids < len(scores)]  # a tokenizer may know more tokens than the model
    known, changed = scores[ids], scores.clone()
    changed[ids] = torch.where(known > 0, known / penalty, known * penalty)
    return changed


def _likeliest(scores: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """The tokens to draw from, in the vocabulary's order."""
    kept = torch.isfinite(scores).nonzero()[:, 0]
    if 0 < top_k < len(kept):
        kept = (scores >= scores.topk(top_k).values[-1]).nonzero()[:, 0]
    if top_p >= 1:
        return kept
    weights = torch.softmax(scores[kept], dim=0)
    found, order = weights.topk(min(HEAD, len(kept)))
    if float(found.sum()) < top_p:
        found, order = weights.sort(descending=True, stable=True)
    before = found.cumsum(0) - found
    chosen = order[(before < top_p) | (before == 0)]
    return kept[chosen].sort().values
