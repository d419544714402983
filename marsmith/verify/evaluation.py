"""The data that a model is verified and calibrated on: request bodies, as a client sends them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handlers.base import Handler
from handlers.protocols.exchange import Exchange
from handlers.task import Sample
from marsmith.errors import BuildError
from marsmith.recipe.references import resolve
from marsmith.recipe.sections import Evaluation


@dataclass(frozen=True)
class Data:
    """What a model is verified on.

    Attributes:
        bodies: request bodies, as a client sends them.
        media_type: of the bodies, "" for raw bytes of no stated type.
        expected: the right answers; None when there are none, and nothing but the
            handler's own example to compare on.
    """

    bodies: Sequence[bytes]
    media_type: str
    expected: Sequence[Any] | None


def load_data(handler: Handler[Any, Any, Any], evaluation: Evaluation | None) -> Data:
    """The recipe's evaluation data, or the handler's example when it has none.

    Raises:
        BuildError: the data function returned something else than bodies, or (body, expected)
            pairs; or a metric has nothing to compare with.
    """
    if evaluation is None:
        media_type, body = handler.example()
        return Data([body], media_type, None)
    items = list(resolve(evaluation.data)())
    bodies = bodies_of(items, evaluation.data)
    if evaluation.metric is None:
        return Data(bodies, "", None)
    if isinstance(items[0], bytes):
        raise BuildError(
            f"the metric {evaluation.metric!r} needs expected answers: {evaluation.data} must "
            "return (request body: bytes, expected) pairs"
        )
    return Data(bodies, "", [expected for _, expected in items])


def bodies_of(items: Sequence[Any], name: str) -> list[bytes]:
    """The request bodies of evaluation or calibration data.

    Raises:
        BuildError: there are none, or the items are neither bodies nor pairs that begin with one.
    """
    pairs = all(isinstance(e, tuple) and len(e) == 2 and isinstance(e[0], bytes) for e in items)
    if not items or not (pairs or all(isinstance(each, bytes) for each in items)):
        raise BuildError(
            f"{name} must return (request body: bytes, expected) pairs, or bodies alone"
        )
    return [each[0] for each in items] if pairs else list(items)


def decode(
    handler: Handler[Any, Any, Any], bodies: Sequence[bytes], what: str, media_type: str = ""
) -> list[Sample[Any, Any]]:
    """Request bodies to samples, as the handler will when it serves.

    Raises:
        BuildError: one of them can't be read, or holds not one instance; the message has its
            number.
    """
    exchanges = [Exchange({"body": body}, {"body": media_type}) for body in bodies]
    handler.read_all(exchanges)
    for index, exchange in enumerate(exchanges):
        if exchange.body is not None:
            reason = json.loads(exchange.body)["error"]
            raise BuildError(f"{what} item {index} can't be decoded: {reason}")
        if len(exchange.samples) != 1:
            raise BuildError(f"{what} item {index} has {len(exchange.samples)} instances, not one")
    return [exchange.samples[0] for exchange in exchanges]
