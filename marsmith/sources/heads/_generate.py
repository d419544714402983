"""What transformers' `generate` writes with a folder's own model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

TEXTS = 16  # that are written; each costs as many passes of the model as it has tokens
TOKENS = 24  # of a text; what a wrapper does wrong shows within a few
SURE = 1e-3
"""How far, of the largest, the best score is from the next where another order of sums can't make
another token of it."""


@dataclass(frozen=True)
class Greedy:
    """The likeliest tokens of a text, as far as they are sure.

    Attributes:
        prompt: the tokens that the model began with.
        made: those that it wrote, with one that ends the text.
        most: how many it was to write at most.
    """

    prompt: list[int]
    made: list[int]
    most: int

    def answer(self, tokenizer: Any) -> Mapping[str, object] | None:
        """What a client is to get for it; None where the prompt and the text are one word."""
        before, whole = (
            tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for ids in (self.prompt, [*self.prompt, *self.made])
        )
        if not whole.startswith(before):
            return None
        return {"text": whole[len(before) :], "tokens": len(self.made)}


def greedily(model: Any, tokens: Mapping[str, torch.Tensor], most: int, **more: Any) -> Greedy:
    """Write the likeliest tokens, until two are too near to each other to tell which it is.

    Args:
        model: of transformers.
        tokens: `input_ids` (1, T) int64 and `attention_mask` (1, T).
        most: how many to write.
        more: further settings of `generate`.
    """
    inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    settings = {"do_sample": False, "num_beams": 1, "output_scores": True, **more}
    while True:
        with torch.inference_mode():
            found = model.generate(
                **inputs, **settings, max_new_tokens=most, return_dict_in_generate=True
            )
        ids = found.sequences[0].tolist()
        written = Greedy(ids[: -len(found.scores)], ids[-len(found.scores) :], most)
        sure = next((n for n, each in enumerate(found.scores) if not _sure(each[0])), None)
        if not sure:
            return written if sure is None else Greedy(written.prompt, [], 0)
        most = sure  # anew: the last token of the longest text may be a forced one


def _sure(scores: torch.Tensor) -> bool:
    """Whether the largest score (V,) is that, whatever the order of sums."""
    best, next_best = (float(each) for each in scores.float().topk(2).values)
    return not best - next_best <= SURE * max(1.0, abs(best))
