"""How well a language model knows a text: of `text_generation`, asked for a score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

from marsmith.errors import BuildError


class Score(TypedDict, total=False):
    """What is read of an answer."""

    log_likelihood: float
    prompt_tokens: int
    truncated: bool
    finish_reason: str | None


def measure(answers: Sequence[Score], expected: Sequence[str]) -> float:
    """How many times smaller the texts would be if the model coded them: 8 ÷ bits per byte.

    Args:
        answers: to requests of the texts with `score` and no `max_new_tokens`; each has the mean
            `log_likelihood` of a token. A first token that follows nothing, because the tokenizer
            puts nothing before a text, is not counted.
        expected: the texts.

    Raises:
        BuildError: an answer has no score, a text was cut, the model ran out of time, or there is
            nothing to measure.
    """
    nats, size = 0.0, 0
    for answer, text in zip(answers, expected, strict=True):
        late = answer.get("finish_reason") == "time"
        if "log_likelihood" not in answer or answer["truncated"] or late:
            raise BuildError(
                "compression needs whole texts with a score",
                "send shorter ones, with the options score: true and max_new_tokens: 0",
            )
        nats -= answer["log_likelihood"] * (answer["prompt_tokens"] - 1)
        size += len(text.encode())
    if not nats:
        raise BuildError(
            "compression has nothing to measure: no token's likelihood counts, or each is 1",
            "send texts of at least two tokens; a tokenizer's own first token counts",
        )
    return 8 * size * math.log(2) / nats
