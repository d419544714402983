"""Batch samples: group those that can share one, run, and split until a bad one is alone."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch

from handlers.errors import RAISED, HandlerError, ModelError, unexpected
from handlers.runtimes import Tensors

logger = logging.getLogger(__name__)

S = TypeVar("S")
A = TypeVar("A")


def plan(samples: Sequence[S], key: Callable[[S], Hashable], limit: int) -> list[list[int]]:
    """The batches that a worker makes, as the positions of their samples.

    Args:
        samples: in any order.
        key: samples of equal keys can share a batch.
        limit: the largest batch.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, sample in enumerate(samples):
        groups[key(sample)].append(place)
    return [
        members[start : start + limit]
        for members in groups.values()
        for start in range(0, len(members), limit)
    ]


def run(
    samples: Sequence[S],
    predict: Callable[[Sequence[S]], Sequence[A]],
    *,
    key: Callable[[S], Hashable],
    limit: int,
) -> list[A | HandlerError]:
    """Answer every sample, in batches; see `plan`.

    Args:
        samples: in any order and of any keys.
        predict: answers one batch; it may raise anything.
        key: samples of equal keys can share a batch; it may raise anything.
        limit: the largest batch.

    Returns:
        The answer to every sample, or the error that it alone caused.
    """
    keys: dict[int, Hashable] = {}
    results: dict[int, A | HandlerError] = {}
    for index, sample in enumerate(samples):
        try:
            keys[index] = key(sample)
            hash(keys[index])
        except RAISED as error:  # a task's decode may return anything
            keys.pop(index, None)
            results[index] = unexpected(error)
    known = list(keys)
    for batch in plan(known, keys.__getitem__, limit):
        chosen = [known[place] for place in batch]
        answers = _predict_or_split([samples[index] for index in chosen], predict)
        results.update(zip(chosen, answers, strict=True))
    return [results[index] for index in range(len(samples))]


def in_steps(
    run: Callable[[Tensors], Tensors],
    batch: Tensors,
    rows: int,
    check_time: Callable[[], None] = lambda: None,
) -> Tensors:
    """Run a model on a batch, at most `rows` at once: that bounds its memory, too.

    Args:
        run: the model.
        batch: named tensors of any number of rows.
        rows: how many rows at once.
        check_time: called before each run; raises when there is no time left.
    """
    found = []
    for start in range(0, len(next(iter(batch.values()))), rows):
        check_time()
        found.append(run({name: tensor[start : start + rows] for name, tensor in batch.items()}))
    if len(found) == 1:
        return found[0]
    return {name: torch.cat([each[name] for each in found]) for name in found[0]}


def _predict_or_split(
    samples: Sequence[S], predict: Callable[[Sequence[S]], Sequence[A]]
) -> list[A | HandlerError]:
    try:
        answers = list(predict(samples))
        if len(answers) != len(samples):
            raise ModelError(f"{len(samples)} inputs gave {len(answers)} answers")
        return list(answers)
    except RAISED as error:  # a model may raise anything, and its neighbours must not notice
        if len(samples) == 1:
            return [blame(error)]
    # After the `except`: the error holds the frames that raised it, and with them all that the
    # failed batch had in memory, which the halves may need.
    middle = len(samples) // 2
    return [
        *_predict_or_split(samples[:middle], predict),
        *_predict_or_split(samples[middle:], predict),
    ]


def blame(error: BaseException) -> HandlerError:
    """Turn what a model raised on a single input into what its client is told."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        logger.error("out of memory on a single input", exc_info=error)
        return ModelError("not enough memory for this input", hint="send less", status=507)
    return unexpected(error)
