"""Tokens chosen as transformers chooses them, and by seeds that no neighbour disturbs."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.errors import ModelError
from handlers.generation.sampling import SamplingOptions as Options
from handlers.generation.sampling import choose

LOGITS = torch.tensor([2.0, 1.0, 0.5, -1.0, 3.0])


def drawn(logits: torch.Tensor, options: Options, seen: tuple[int, ...] = ()) -> set[int]:
    """All that may come."""
    draws = [place / 200 for place in range(200)]
    return {choose(logits, seen, options, partial(float, at)) for at in draws}


def test_without_a_temperature_it_is_the_likeliest() -> None:
    assert choose(LOGITS, (), Options(), random.Random(0).random) == 4
    assert choose(LOGITS, {4}, Options(repetition_penalty=2.0), lambda: 0.0) == 0


def test_draws_follow_the_probabilities() -> None:
    chance = random.Random(1).random
    counts = Counter(choose(LOGITS, (), Options(temperature=2.0), chance) for _ in range(4000))
    wanted = torch.softmax(LOGITS / 2, dim=0)
    for token, share in enumerate(wanted.tolist()):
        assert counts[token] / 4000 == pytest.approx(share, abs=0.03)


@given(
    st.lists(st.integers(-800, 800), min_size=2, max_size=40, unique=True),
    st.floats(0.2, 3),
    st.integers(1, 12),
    st.floats(0.05, 1),
    st.floats(0.5, 2),
)
@settings(max_examples=40)
def test_what_may_be_drawn_is_what_transformers_leaves(
    numbers: list[int], temperature: float, top_k: int, top_p: float, penalty: float
) -> None:
    from transformers.generation import logits_process as generation

    # No two of them equal: which of those is left is anybody's choice.
    logits, seen = torch.tensor([each / 101 for each in numbers], dtype=torch.float64), (0, 1)
    ids, scores = torch.tensor([seen]), logits[None]
    scores = generation.RepetitionPenaltyLogitsProcessor(penalty)(ids, scores)
    scores = generation.TemperatureLogitsWarper(temperature)(ids, scores)
    scores = generation.TopKLogitsWarper(top_k)(ids, scores)
    left = torch.softmax(generation.TopPLogitsWarper(top_p)(ids, scores)[0], dim=0)
    options = Options(temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=penalty)
    found = drawn(logits, options, seen)
    assert found <= set(left.nonzero()[:, 0].tolist())
    assert found >= set((left > 0.02).nonzero()[:, 0].tolist())


def test_of_a_large_vocabulary_no_token_is_lost() -> None:
    flat = torch.zeros(5000)
    assert len(drawn(flat, Options(temperature=1.0, top_p=0.9))) == 200
    assert drawn(flat, Options(temperature=1.0, top_p=0.0)) <= set(range(5000))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_told(value: float) -> None:
    spoiled = LOGITS.clone()
    spoiled[2] = value
    for options in (Options(), Options(temperature=1.0)):
        with pytest.raises(ModelError, match="not finite"):
            choose(spoiled, (), options, lambda: 0.5)


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 100.0])
def test_extreme_options_choose_something(temperature: float) -> None:
    extreme: dict[str, Any] = {"temperature": temperature, "repetition_penalty": 0.01}
    for top_p in (0.0, 1e-300, 1.0):
        options = Options(top_p=top_p, top_k=10**9, **extreme)
        assert 0 <= choose(LOGITS * 1e30, range(9999), options, lambda: 0.999) < 5
