"""How many times smaller a text is, as a model codes it."""

from __future__ import annotations

import math

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.compression import Score, measure


def answer(likelihood: float, tokens: int, *, truncated: bool = False) -> Score:
    return {"log_likelihood": likelihood, "prompt_tokens": tokens, "truncated": truncated}


def test_it_is_eight_bits_over_those_of_a_byte() -> None:
    uniform = -8 * math.log(2)  # of one byte among 256
    assert measure([answer(uniform, 4), answer(uniform, 3)], ["abc", "ß"]) == pytest.approx(1)
    assert measure([answer(uniform / 4, 4)], ["abc"]) == pytest.approx(4)


def test_what_is_no_score_is_told() -> None:
    unscored: Score = {"truncated": False}
    for wrong in (unscored, answer(-1.0, 3, truncated=True)):
        with pytest.raises(BuildError, match="whole texts with a score"):
            measure([wrong], ["abc"])


def test_what_had_no_time_is_no_score() -> None:
    with pytest.raises(BuildError, match="whole texts with a score"):
        measure([{**answer(-1.0, 3), "finish_reason": "time"}], ["abc"])


def test_nothing_to_measure_is_told() -> None:
    for count in (0, 1):
        with pytest.raises(BuildError, match="nothing to measure"):
            measure([answer(0.0, 1)] * count, ["a"] * count)
