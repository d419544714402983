"""Time stamps among tokens: when they may come, and how they cut what is written into segments.

Behind its words a model of Whisper's kind has a token for each fiftieth of a second of a window.
They come in pairs, an end and the next beginning. Rules and cuts are those of transformers'
`generate`. See: transformers/generation/logits_process.py (WhisperTimeStampLogitsProcessor) and
transformers/models/whisper/generation_whisper.py (_retrieve_segment).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

NEVER = -torch.inf


@dataclass(frozen=True)
class Stamps:
    """A model's time stamps.

    Attributes:
        none: the token that says that there are none.
        end: the token that ends a text; behind it are no words.
        latest: the latest that may come first, by its place; None for any.
        seconds: from one to the next.
    """

    none: int
    end: int
    latest: int | None
    seconds: float

    @property
    def first(self) -> int:
        """The token of time 0; all behind it are time stamps."""
        return self.none + 1

    def apply(self, scores: torch.Tensor, made: Sequence[int]) -> torch.Tensor:
        """Change the scores of a window's next token.

        Args:
            scores: (V,), logits or their logarithms of probabilities; it is not changed.
            made: the tokens that have been written in the window.

        Returns:
            (V,), minus infinity for what must not come.
        """
        scores, first = scores.clone(), self.first
        scores[self.none] = NEVER
        last = bool(made) and made[-1] >= first
        before = len(made) < 2 or made[-2] >= first
        if last and before:
            scores[first:] = NEVER
        elif last:
            scores[: self.end] = NEVER
        stamps = [token for token in made if token >= first]
        if stamps:  # time doesn't go back; only an end and the next beginning may be equal
            scores[first : stamps[-1] + (not last or before)] = NEVER
        if not made:
            scores[:first] = NEVER
            if self.latest is not None:
                scores[first + self.latest + 1 :] = NEVER
        logs = torch.log_softmax(scores.float(), dim=0)
        if logs[first:].logsumexp(dim=0) > logs[:first].max():
            scores[:first] = NEVER
        return scores

    def cut(self, made: Sequence[int], frames: int, stride: int, seconds: float) -> Cuts:
        """Cut what was written of a window into segments.

        Args:
            made: its tokens, without one that ends the text.
            frames: how many frames of the recording the window has.
            stride: frames from one time stamp to the next.
            seconds: from one frame to the next.
        """
        first = self.first
        stamps = [token >= first for token in made]
        pairs = [at + 1 for at in range(len(made) - 1) if stamps[at] and stamps[at + 1]]
        if not pairs:
            places = [token for token, stamp in zip(made, stamps, strict=True) if stamp]
            last: float = int(frames * seconds / self.seconds)
            if places and places[-1] != first:
                last = places[-1] - first
            return Cuts([Stretch(0.0, last * self.seconds, list(made))], frames)
        single = stamps[-2:] == [False, True]
        edges = [0, *pairs, *([len(made)] if single else [])]
        if not single:
            edges[-1] += 1  # with the stamp behind it, at which the next window begins
        stretches = []
        for at, (start, end) in enumerate(itertools.pairwise(edges)):
            tokens = list(made[start:end])
            closing = tokens[-2 if at == len(edges) - 2 and not single else -1]
            stretches.append(
                Stretch(
                    (tokens[0] - first) * self.seconds, (closing - first) * self.seconds, tokens
                )
            )
        kept = frames if single else (made[edges[-1] - 2] - first) * stride
        return Cuts(stretches, kept)


@dataclass(frozen=True)
class Stretch:
    """A part of what is written of a window.

    Attributes:
        start: seconds from the window's beginning.
        end: seconds from there, too.
        tokens: with its time stamps.
    """

    start: float
    end: float
    tokens: list[int]


@dataclass(frozen=True)
class Cuts:
    """The parts of what is written of a window.

    Attributes:
        stretches: in their order.
        frames: how many frames they take; the next window begins behind them.
    """

    stretches: list[Stretch]
    frames: int
