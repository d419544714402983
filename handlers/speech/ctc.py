"""Connectionist temporal classification (CTC): find what was said, and when, from frames' scores.

See: A. Graves et al., Connectionist Temporal Classification, 2006; A. Hannun et al., First-Pass
Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs, 2014.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]
Chain: TypeAlias = 'tuple[Token, "Chain"] | None'
"""The tokens of a prefix, the last first; prefixes share what they have in common."""

BEGINS = "▁"  # the first character of sentencepiece tokens that begin a word
CHECKED = 250  # frames between checks of the time
RARE = np.log(1e-5)  # a token that is less likely in a frame is not tried there
PRIME, ONE = np.uint64(0x100000001B3), np.uint64(1)  # of the hash that names a prefix


@dataclass(frozen=True)
class Token:
    """One token that was said.

    Attributes:
        number: its number in the vocabulary.
        start: its first frame.
        end: the frame after its last.
    """

    number: int
    start: int
    end: int


@dataclass(frozen=True)
class Word:
    """The tokens between two delimiters.

    Attributes:
        text: the joined text of its tokens.
        start: its first frame.
        end: the frame after its last.
        score: the mean of its tokens' probabilities, each in its best frame; in [0, 1].
    """

    text: str
    start: int
    end: int
    score: float


def greedy(logs: Floats, blank: int) -> list[Token]:
    """Take the likeliest token of every frame, repetitions as one, without blanks.

    Args:
        logs: (T, V) log probabilities.
        blank: the number of the blank token.
    """
    best = logs.argmax(axis=1)
    edges = np.flatnonzero(np.diff(best)) + 1
    starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(best)]
    numbers = best[starts].tolist() if len(best) else []
    return [
        Token(number, start, end)
        for number, start, end in zip(numbers, starts, ends, strict=False)
        if number != blank
    ]


def beam(
    logs: Floats, blank: int, width: int, check_time: Callable[[], None] = lambda: None
) -> tuple[list[Token], float]:
    """Find the likeliest tokens over all alignments, by prefix beam search.

    Args:
        logs: (T, V) log probabilities.
        blank: the number of the blank token.
        width: how many prefixes are kept from frame to frame.
        check_time: called regularly; raises when there is no time left.

    Returns:
        The tokens, each with the frames of its likeliest alignment; and the logarithm of their
        probability, over all alignments that were kept.
    """
    beams = Beams(blank, width)
    logs = np.asarray(logs, dtype=np.float64)
    likely = np.argsort(-logs, axis=1, kind="stable")[:, : width + 2]
    for frame, (scores, tokens) in enumerate(zip(logs, likely, strict=True)):
        if frame % CHECKED == 0:
            check_time()
        beams.advance(frame, scores, tokens[(tokens != blank) & (scores[tokens] > RARE)])
    return beams.best()


class Beams:
    """The prefixes that are kept, as arrays with one item for each.

    Args:
        blank: the number of the blank token.
        width: how many prefixes are kept.
    """

    def __init__(self, blank: int, width: int) -> None:
        self.blank, self.width = blank, width
        self.name = np.zeros(1, dtype=np.uint64)  # a hash of all tokens
        self.parent = np.zeros(1, dtype=np.uint64)  # and of all but the last
        self.last = np.full(1, -1)  # token; -1 for the empty prefix
        self.start, self.end = np.zeros((2, 1), dtype=np.int64)  # its frames
        self.earlier: list[Chain] = [None]  # tokens with their frames: (token, those before it)
        self.silent = np.zeros(1)  # log probability of all alignments that end in a blank
        self.spoken = np.full(1, -np.inf)  # of all that end in the last token

    def advance(self, frame: int, scores: Floats, tokens: Integers) -> None:
        """Take a frame: (V,) log probabilities, and the tokens that are tried beside the blank."""
        before = np.logaddexp(self.silent, self.spoken)
        again = self.last[:, None] == tokens  # a token follows itself after a blank alone
        grown = np.where(again, self.silent[:, None], before[:, None]) + scores[tokens]
        self.silent, self.spoken = before + scores[self.blank], self.spoken + scores[self.last]
        ends = np.where(self.spoken > self.silent, frame + 1, self.end)
        if not len(tokens):
            self.end = ends
            return
        chains = [self._chain(place) for place in range(len(self.last))]
        self.end = ends
        self._merge(frame, grown, tokens, chains)
        self._keep(frame, grown, tokens, chains)

    def _merge(self, frame: int, grown: Floats, tokens: Integers, chains: Sequence[Chain]) -> None:
        """Add a prefix that grows to one that is kept already to that one."""
        children, parents = np.nonzero(
            (self.parent[:, None] == self.name) & (self.last[:, None] >= 0)
        )
        tried, places = np.nonzero(self.last[children, None] == tokens)
        children, parents = children[tried], parents[tried]
        added = grown[parents, places]
        grown[parents, places] = -np.inf
        likelier = added > np.logaddexp(self.silent, self.spoken)[children]
        self.spoken[children] = np.logaddexp(self.spoken[children], added)
        for child, parent in zip(children[likelier], parents[likelier], strict=True):
            self.start[child], self.end[child] = frame, frame + 1
            self.earlier[child] = chains[parent]

    def _keep(self, frame: int, grown: Floats, tokens: Integers, chains: Sequence[Chain]) -> None:
        """Keep the likeliest of the old and the grown prefixes."""
        total = np.concatenate([np.logaddexp(self.silent, self.spoken), grown.ravel()])
        best = np.argsort(-total, kind="stable")[: self.width]
        best = best[total[best] > -np.inf]
        count = len(self.last)
        old, (parents, places) = (
            best[best < count],
            divmod(best[best >= count] - count, len(tokens)),
        )
        last, frames = tokens[places], np.full(len(places), frame)
        self.earlier = [self.earlier[place] for place in old] + [chains[each] for each in parents]
        self.parent = np.concatenate([self.parent[old], self.name[parents]])
        name = self.name[parents] * PRIME + last.astype(np.uint64) + ONE
        self.name = np.concatenate([self.name[old], name])
        self.last = np.concatenate([self.last[old], last])
        self.start = np.concatenate([self.start[old], frames])
        self.end = np.concatenate([self.end[old], frames + 1])
        self.silent = np.concatenate([self.silent[old], np.full(len(last), -np.inf)])
        self.spoken = np.concatenate([self.spoken[old], grown[parents, places]])

    def _chain(self, place: int) -> Chain:
        """All tokens of a prefix, as a chain."""
        if self.last[place] < 0:
            return None
        token = Token(int(self.last[place]), int(self.start[place]), int(self.end[place]))
        return token, self.earlier[place]

    def best(self) -> tuple[list[Token], float]:
        """The tokens of the likeliest prefix, and the logarithm of its probability."""
        total = np.logaddexp(self.silent, self.spoken)
        place = int(total.argmax())
        found: list[Token] = []
        chain = self._chain(place)
        while chain is not None:
            token, chain = chain
            found.append(token)
        return found[::-1], float(total[place])


def words(
    tokens: Sequence[Token], logs: Floats, names: Sequence[str], delimiter: int
) -> list[Word]:
    """Join tokens to words.

    Args:
        tokens: in their order.
        logs: (T, V) log probabilities, from which they were made.
        names: of the vocabulary's tokens; one that begins with BEGINS begins a word.
        delimiter: the number of the token between words; -1 where there is none.
    """
    groups: list[list[Token]] = [[]]
    for token in tokens:
        if token.number == delimiter:
            groups.append([])
        elif names[token.number].startswith(BEGINS):
            groups.append([token])
        else:
            groups[-1].append(token)
    found = []
    for group in groups:
        spelled = "".join(names[each.number] for each in group).replace(BEGINS, "")
        if spelled:
            best = [float(logs[each.start : each.end, each.number].max()) for each in group]
            score = min(1.0, float(np.exp(best).mean()))
            found.append(Word(spelled, group[0].start, group[-1].end, score))
    return found


def text(tokens: Sequence[Token], names: Sequence[str], delimiter: int) -> str:
    """Join tokens to a text, with a blank for each delimiter within; see `words`."""
    spelled = (" " if each.number == delimiter else names[each.number] for each in tokens)
    return "".join(spelled).replace(BEGINS, " ").strip()
