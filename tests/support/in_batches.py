"""What a handler answers to samples, in batches as a worker makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from handlers import batching
from handlers.base import Handler
from handlers.errors import HandlerError
from handlers.task import Answered, Config, Sample

C = TypeVar("C", bound=Config)
O = TypeVar("O")  # noqa: E741 - a task's options
M = TypeVar("M")


def answers_in_batches(
    handler: Handler[C, O, M], samples: Sequence[Sample[O, M]], limit: int = 8
) -> list[Any]:
    """One answer for each sample, as JSON data; none may be refused."""

    def predict(group: Sequence[Sample[O, M]]) -> Answered:
        return handler.answer(handler.inference(handler.collate(group)), group)

    answers = batching.run(samples, predict, key=handler.group_key, limit=limit)
    assert not [answer for answer in answers if isinstance(answer, HandlerError)]
    return [answer.to_json() for answer in answers if not isinstance(answer, HandlerError)]
