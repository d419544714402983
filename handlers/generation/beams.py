"""Beam search: the likeliest text that is found by writing several at once.

It finds what transformers' `generate` finds, scores in float32 included: `num_beams` texts go on,
of twice as many the ended ones are set aside with their scores ÷ length ** `length_penalty`, and
it stops when no text on its way can become better. See: transformers/generation/utils.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import torch

from handlers.errors import ModelError
from handlers.schema import setting

MOST = 8  # beams; memory is kept for so many texts


@dataclass(frozen=True, kw_only=True)
class BeamOptions:
    """The options of a search."""

    num_beams: int = setting(
        1,
        "Texts that are written at once, to find the likeliest. Above 1, nothing is drawn by "
        "chance, and a stream gets the whole text at its end.",
        minimum=1,
        maximum=MOST,
    )
    length_penalty: float = setting(
        1.0, "Beams: above 0, longer texts win; below, shorter ones.", minimum=-10, maximum=10
    )
    early_stopping: bool = setting(
        False, "Beams: stop as soon as `num_beams` texts have ended, though others may be better."
    )


@dataclass
class BeamSearch:
    """The state of a search for one text.

    Attributes:
        options: the request's.
        limit: the most tokens to write.
        ends: tokens that end a text.
        texts: the tokens of each text that goes on.
        scores: (num_beams,), their log-likelihoods; of those that don't count yet, very small.
        ended: the best texts that have ended, best first, each with its score.
        over: whether the best text is known.
    """

    options: BeamOptions
    limit: int
    ends: Collection[int]
    texts: list[list[int]] = field(init=False)
    scores: torch.Tensor = field(init=False)
    ended: list[tuple[float, list[int]]] = field(default_factory=list)
    over: bool = False

    def __post_init__(self) -> None:
        count = self.options.num_beams
        self.texts = [[] for _ in range(count)]
        self.scores = torch.full((count,), -1e9)
        self.scores[0] = 0  # all begin with the same tokens: one of them is enough

    @property
    def best(self) -> list[int]:
        """The best text that has ended; before there is one, the likeliest on its way."""
        return self.ended[0][1] if self.ended else self.texts[0]

    def choose(self, log_likelihoods: torch.Tensor) -> list[int]:
        """Choose the texts that go on, each a text of before and a token.

        Args:
            log_likelihoods: (num_beams, V) float32, of every next token of each text.

        Returns:
            For each text the position that the one it goes on from had before.

        Raises:
            ModelError: they are not numbers.
        """
        count, size = log_likelihoods.shape
        if log_likelihoods.isnan().any():
            raise ModelError("the model's logits are not finite", hint="check the input")
        kept = min(max(2, 1 + len(self.ends)) * count, count * size)
        found = (log_likelihoods + self.scores[:, None]).reshape(-1).topk(kept)
        made = [
            (place // size, [*self.texts[place // size], place % size])
            for place in found.indices.tolist()
        ]
        length = len(made[0][1])
        stopped = [text[-1] in self.ends or length >= self.limit for _, text in made]
        self._set_aside(found.values, made, stopped, length)
        going = found.values + torch.tensor(stopped) * -1e9
        chosen = going.topk(count)
        self.scores = chosen.values
        self.texts = [made[place][1] for place in chosen.indices.tolist()]
        self.over = all(stopped) or self._is_settled(length)
        return [made[place][0] for place in chosen.indices.tolist()]

    def _set_aside(
        self,
        scores: torch.Tensor,
        made: list[tuple[int, list[int]]],
        stopped: list[bool],
        length: int,
    ) -> None:
        """Keep the best of what has ended; only the first `num_beams` candidates count."""
        count, penalty = self.options.num_beams, length**self.options.length_penalty
        for score, (_, text), over in list(zip(scores, made, stopped, strict=True))[:count]:
            if over:
                self.ended.append((float(score / penalty), text))
        self.ended = sorted(self.ended, key=lambda each: -each[0])[:count]

    def _is_settled(self, length: int) -> bool:
        if len(self.ended) < self.options.num_beams:
            return False
        possible = self.scores[0] / length**self.options.length_penalty
        return self.options.early_stopping or not float(possible) > self.ended[-1][0]
