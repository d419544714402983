"""What a handler answers to samples, or to bodies, in batches as a worker makes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from handlers import batching
from handlers.base import Handler
from handlers.errors import HandlerError
from handlers.protocols.exchange import Exchange
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


def ask(
    handler: Handler[C, O, M], bodies: Sequence[object], *, explain: bool = False
) -> list[tuple[int, Any]]:
    """Status and answer of each body, as JSON data; all bodies come together."""
    exchanges = [Exchange({"body": body}, explain=explain) for body in bodies]
    handler.answer_all(exchanges)
    return [(each.status, json.loads(each.body or b"")) for each in exchanges]
