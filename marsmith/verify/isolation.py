"""Whether requests may share a batch: no row of the original's may depend on its neighbours.

A model that mixes the rows of its batch - a softmax, a mean or a norm over dimension 0 - answers
every request otherwise beside others than alone, and as fast as one that doesn't.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from handlers.errors import HandlerError
from handlers.runtimes import Runtime, Tensors
from handlers.task import Sample
from marsmith.client.comparison import difference
from marsmith.errors import BuildError, GateError
from marsmith.verify.difference import compare
from marsmith.verify.ladder import Ladder
from marsmith.verify.untouched import cut

TOLERANCE = 0.02
"""Of the largest number: more than another order of sums makes, or one scale for a whole batch."""
SHARE = 0.1
"""Of the samples that may be beyond it: where two tokens are as likely, the last bit chooses."""
FACTORS = (0.5, 2.0)
"""Of made-up neighbours."""
ALONE = "serve one request at a time: 'serving: {batch_size: 1}'"
HINT = (
    "let nothing in the model mix the rows of a batch, as a softmax, mean or norm over dimension 0"
    f" does; or {ALONE}"
)


def rows(ladder: Ladder, original: Runtime) -> int:
    """How many rows the model is given where its shapes are read: 2, or 1 if it takes no more.

    The original must answer a batch as large as will be served, of one sample over and over.

    Args:
        ladder: with a sample, of which there may be one alone.
        original: the model.

    Raises:
        BuildError: it takes one, and no such batch.
    """
    sample, size = ladder.batches.samples[0], ladder.batch_size
    try:
        original(ladder.handler.collate([sample]))
    except Exception:  # a model may raise anything
        return 2  # it takes none at all: whoever measures it will say so
    try:
        original(ladder.handler.collate([sample] * max(2, size)))
    except Exception as problem:
        if size == 1:
            return 1
        raise BuildError(
            f"the original takes one request, and not {size} together: {problem}",
            "let its batch dimension vary, as torch.onnx.export does with dynamic_axes={INPUT: {0:"
            f" 'batch'}}}}; or {ALONE}",
        ) from problem
    return 2


def check(ladder: Ladder) -> None:
    """Compare what the original has just said to samples alone, and to the same in batches.

    Where the data makes no batch, neighbours are made up of what there is.

    Args:
        ladder: that has measured the original as its reference.

    Raises:
        GateError: too many of them differ.
    """
    off = [_distance(ladder, *each) for each in _pairs(ladder)]
    beyond = [index for index, found in enumerate(off) if not found <= TOLERANCE]
    if len(beyond) > SHARE * len(off):
        _expect_the_same_again(ladder)
        raise GateError(
            f"the original answers a request otherwise beside others than alone: {len(beyond)} of"
            f" {len(off)} differ by more than {TOLERANCE:g} of the largest number, by"
            f" {max(off):.3g} at most, in batches of up to {ladder.batch_size}",
            HINT,
        )


def _expect_the_same_again(ladder: Ladder) -> None:
    handler, samples = ladder.handler, ladder.batches.samples[:1]
    once, again = (handler.inference(handler.collate(samples)) for _ in range(2))
    if (found := _distance(ladder, samples, 0, once, again)) > TOLERANCE:
        raise GateError(
            f"the original answers one request otherwise each time: by {found:.3g} of the largest"
            " number",
            "let it draw no random numbers, as a dropout that is on does: nothing could be compared"
            " with it",
        )


Row = tuple[Sequence[Sample[Any, Any]], int, Tensors, Tensors]
"""A batch's samples, one's place among them, its outputs alone, and those of the batch."""


def _pairs(ladder: Ladder) -> Iterator[Row]:
    alone: dict[int, Tensors] = {}
    compared = 0
    for (size, members), outputs in zip(ladder.plan(), ladder.reference, strict=True):
        if size == 1:
            alone[members[0]] = outputs
        elif len(members) > 1:
            samples = [ladder.batches.samples[index] for index in members]
            for place, index in enumerate(members):
                if index in alone:
                    compared += 1
                    yield samples, place, alone[index], outputs
    if not compared and ladder.batch_size > 1:
        sample = ladder.batches.samples[0]
        samples = [sample] * ladder.batch_size
        for outputs in _made_up(ladder, samples):
            yield samples, 0, alone[0], outputs


def _made_up(ladder: Ladder, samples: Sequence[Sample[Any, Any]]) -> Iterator[Tensors]:
    """What the original says to a sample beside itself, and beside what may be another."""
    handler = ladder.handler
    batch, own = handler.collate(samples), handler.collate(samples[:1])
    yield handler.inference(batch)
    for factor in FACTORS:
        # A sample may have several rows, such as a query with each of its documents.
        others = {
            name: torch.cat([rows[: len(own[name])], _another(rows[len(own[name]) :], factor)])
            for name, rows in batch.items()
        }
        try:
            outputs = handler.inference(others)
        except (HandlerError, RuntimeError, ValueError):
            continue  # what was made up is nothing to this model
        yield outputs


def _another(rows: torch.Tensor, factor: float) -> torch.Tensor:
    """The same numbers in another order, smaller or larger; integers may be places in a table."""
    turned = rows.flip(-1) if rows.ndim > 1 else rows
    return turned * factor if rows.is_floating_point() else turned


def _distance(
    ladder: Ladder, samples: Sequence[Sample[Any, Any]], place: int, alone: Tensors, beside: Tensors
) -> float:
    handler = ladder.handler
    if all(len(each) == len(samples) for each in beside.values()):
        padded = handler.padded_sizes(handler.collate(samples))
        mine = {
            name: cut(each[place : place + 1], alone[name].shape, padded)
            for name, each in beside.items()
        }
        if all(each.shape == alone[name].shape for name, each in mine.items()):
            return max(found.max_rel_error for found in compare(mine, alone).values())
    given = handler.answer(beside, samples)[place].to_json()
    return difference(given, handler.answer(alone, [samples[place]])[0].to_json(), relative=True)
