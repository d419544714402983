"""The data that a model is verified and calibrated on: request bodies, as a client sends them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from handlers.base import Handler
from handlers.protocols.exchange import Exchange
from handlers.task import Config, Sample
from marsmith.errors import BuildError
from marsmith.recipe.live_data import LiveData
from marsmith.recipe.references import resolve
from marsmith.recipe.sections import Evaluation
from marsmith.verify import arrays

C = TypeVar("C", bound=Config)
O = TypeVar("O")  # noqa: E741 - a task's options
M = TypeVar("M")


@dataclass(frozen=True)
class Data:
    """What a model is verified on.

    Attributes:
        bodies: request bodies, as a client sends them.
        media_type: of the bodies; "" for raw bytes of no stated type.
        expected: the right answers; None where nobody needs or knows any.
        unscored: how many right answers came with the data, where no metric asks for them.
    """

    bodies: Sequence[bytes]
    media_type: str
    expected: Sequence[object] | None
    unscored: int = 0


def load_data(handler: Handler[C, O, M], evaluation: Evaluation | None) -> Data:
    """The recipe's evaluation data, or the handler's example when it has none.

    Raises:
        BuildError: the data function returned neither bodies nor (body, expected) pairs, or a
            metric has nothing to compare with.
    """
    if evaluation is None:
        media_type, body = handler.example()
        return Data([body], media_type, None)
    items = items_of(evaluation.data)
    bodies = bodies_of(items, evaluation.data)
    if evaluation.metric is None:
        return Data(bodies, "", None, sum(isinstance(each, tuple) for each in items))
    if isinstance(items[0], bytes):
        raise BuildError(
            f"the metric {evaluation.metric!r} needs expected answers: {evaluation.data} must "
            "return (request body: bytes, expected) pairs"
        )
    return Data(bodies, "", [expected for _, expected in items])


def check_example(handler: Handler[C, O, M]) -> None:
    """Read the example that every worker begins with, as it will.

    Raises:
        BuildError: its settings leave no room for it.
    """
    media_type, body = handler.example()
    exchange = Exchange({"body": body}, {"body": media_type})
    handler.read_all([exchange])
    if exchange.body is not None:
        raise BuildError(
            "the task's own example, which every worker begins with, doesn't fit:"
            f" {json.loads(exchange.body)['error']}",
            "give it room in 'handler:'; where its tokens are too many, the model has too few"
            " positions to be served",
        )


def strange_labels(handler: Handler[C, O, M], data: Data) -> tuple[str, ...]:
    """The right answers that a classifier can't give, because none of its labels is called so."""
    if not hasattr(handler.config, "labels") or hasattr(handler.default_options, "labels"):
        return ()
    names = getattr(handler, "labels", None) or getattr(handler, "names", None)
    said = {each for each in data.expected or () if isinstance(each, str)}
    return tuple(sorted(e for e in said if (e not in names if names else not e.isdecimal())))


def items_of(data: str | LiveData) -> list[Any]:
    """What a recipe's data function returns, or the rows of a file, or what is in memory.

    Raises:
        RecipeError: there is no such function.
        BuildError: there is no such file, or it can't be read.
    """
    if isinstance(data, LiveData):
        return [*data.items]
    return [*arrays.bodies(Path(data))] if arrays.named(data) else list(resolve(data)())


def bodies_of(items: Sequence[object], name: object) -> list[bytes]:
    """The request bodies of evaluation or calibration data.

    Raises:
        BuildError: there are none, or the items are neither bodies nor pairs that begin with one.
    """
    alone = [each for each in items if isinstance(each, bytes)]
    pairs = [each for each in items if isinstance(each, tuple) and len(each) == 2]
    bodies = alone or [body for body, _ in pairs if isinstance(body, bytes)]
    if not items or len(bodies) < len(items):
        raise BuildError(
            f"{name} must return (request body: bytes, expected) pairs, or bodies alone"
        )
    return bodies


def decode(
    handler: Handler[C, O, M], bodies: Sequence[bytes], what: str, media_type: str = ""
) -> list[Sample[O, M]]:
    """Decode request bodies to samples, as the handler will when it serves; see `read`."""
    return [exchange.samples[0] for exchange in read(handler, bodies, what, media_type)]


def read(
    handler: Handler[C, O, M], bodies: Sequence[bytes], what: str, media_type: str = ""
) -> list[Exchange]:
    """Read request bodies of one instance each, as the handler will when it serves.

    Returns:
        Each with its instance and its sample.

    Raises:
        BuildError: a body can't be read, or doesn't hold exactly one instance; the message has
            its number.
    """
    exchanges = [Exchange({"body": body}, {"body": media_type}) for body in bodies]
    handler.read_all(exchanges)
    for index, exchange in enumerate(exchanges):
        if exchange.body is not None:
            reason = json.loads(exchange.body)["error"]
            raise BuildError(f"{what} item {index} can't be decoded: {reason}")
        if len(exchange.samples) != 1:
            raise BuildError(f"{what} item {index} has {len(exchange.samples)} instances, not one")
    return exchanges
