"""From the scores of frames to words, against a sum over all alignments."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.speech import ctc

BLANK = 0
NAMES = ["<pad>", "|", "a", "b", "c"]


def scores(frames: int, tokens: int, seed: int, sharp: float = 1.0) -> Any:
    """(frames, tokens) log probabilities of chance."""
    logits = np.random.default_rng(seed).normal(size=(frames, tokens)) * sharp
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def spelled(text: str) -> Any:
    """Log probabilities of frames that surely say this, one letter each; "-" is no token."""
    numbers = [BLANK if letter == "-" else NAMES.index(letter) for letter in text]
    return np.log(np.where(np.eye(len(NAMES))[numbers] > 0, 0.96, 0.01))


def by_alignment(logs: Any) -> dict[tuple[int, ...], float]:
    """The probability of each sequence of tokens: the sum over all that collapse to it."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(logs.shape[1]), repeat=len(logs)):
        collapsed = tuple(token for token, _ in itertools.groupby(path) if token != BLANK)
        found[collapsed] += float(np.exp(logs[range(len(logs)), path].sum()))
    return found


@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 2**32), st.sampled_from([0.3, 1, 3]))
def test_a_wide_beam_finds_the_likeliest(frames: int, tokens: int, seed: int, sharp: float) -> None:
    logs = scores(frames, tokens, seed, sharp)
    exact = by_alignment(logs)
    found, logarithm = ctc.beam(logs, BLANK, 400)
    assert exact[tuple(token.number for token in found)] == pytest.approx(max(exact.values()))
    assert np.exp(logarithm) == pytest.approx(max(exact.values()), abs=1e-4)


@given(st.integers(0, 40), st.integers(0, 2**32), st.sampled_from([1, 2, 8]), st.floats(0.5, 6))
def test_tokens_follow_each_other_in_time(frames: int, seed: int, width: int, sharp: float) -> None:
    logs = scores(frames, len(NAMES), seed, sharp)
    for tokens in (ctc.greedy(logs, BLANK), ctc.beam(logs, BLANK, width)[0]):
        edges = [edge for token in tokens for edge in (token.start, token.end)]
        assert edges == sorted(edges)
        assert all(0 <= token.start < token.end <= frames for token in tokens)
        for word in ctc.words(tokens, logs, NAMES, 1):
            assert 0 <= word.score <= 1
        joined = " ".join(word.text for word in ctc.words(tokens, logs, NAMES, 1))
        assert joined.split() == ctc.text(tokens, NAMES, 1).split()


@pytest.mark.parametrize(
    ("frames", "text", "words"),
    [
        ("", "", []),
        ("---", "", []),
        ("aab-b|c", "abb c", [("abb", 0, 5), ("c", 6, 7)]),
        ("||-a--||b|", "a  b".replace("  ", " "), [("a", 3, 4), ("b", 8, 9)]),
        ("-a|-|b", "a  b", [("a", 1, 2), ("b", 5, 6)]),
    ],
)
@pytest.mark.parametrize("width", [1, 2, 16])
def test_words_and_when_they_are_said(
    frames: str, text: str, words: list[tuple[str, int, int]], width: int
) -> None:
    logs = spelled(frames) if frames else np.zeros((0, len(NAMES)))
    tokens = ctc.greedy(logs, BLANK) if width == 1 else ctc.beam(logs, BLANK, width)[0]
    assert ctc.text(tokens, NAMES, 1) == text
    found = ctc.words(tokens, logs, NAMES, 1)
    assert [(word.text, word.start, word.end) for word in found] == words
    assert [word.score for word in found] == [pytest.approx(0.96)] * len(words)


def test_a_beam_may_hear_what_no_single_alignment_says() -> None:
    logs = np.log([[0.4, 0.0001, 0.5999, 1e-9, 1e-9]] * 2 + [[0.6, 0.0001, 0.3999, 1e-9, 1e-9]])
    assert ctc.text(ctc.greedy(logs, BLANK), NAMES, 1) == "a"
    rare = np.log([[0.6, 1e-9, 0.4, 1e-9, 1e-9]] * 2)
    assert ctc.text(ctc.greedy(rare, BLANK), NAMES, 1) == ""
    assert ctc.text(ctc.beam(rare, BLANK, 4)[0], NAMES, 1) == "a"


def test_tokens_that_begin_words_need_no_delimiter() -> None:
    names = ["<pad>", "▁left", "▁", "▁ri", "ght"]
    tokens = [ctc.Token(n, place, place + 1) for place, n in enumerate([1, 3, 4, 2, 1])]
    assert ctc.text(tokens, names, -1) == "left right  left"
    found = ctc.words(tokens, np.zeros((5, 5)), names, -1)
    assert [(word.text, word.start, word.end) for word in found] == [
        ("left", 0, 1),
        ("right", 1, 3),
        ("left", 4, 5),
    ]
