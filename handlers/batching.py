"""Samples into batches and back: group by shape, run, and split until a poison is alone."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from handlers.errors import HandlerError, ModelError, unexpected
from handlers.runtimes import Tensors

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")
SHORT = 32  # tokens, or items; below this, padding costs less than another run of the model


@dataclass(frozen=True)
class Sample:
    """One decoded instance.

    Attributes:
        tensors: the model's inputs by name, without the batch dimension.
        options: the request's options, validated.
        meta: whatever the task needs to answer (an image's original size, say).
    """

    tensors: Tensors
    options: Any = None
    meta: Any = None


def same_shape(sample: Sample) -> Hashable:
    """Samples of one key can be stacked: the names, shapes and dtypes of their tensors."""
    return tuple((name, tensor.shape, tensor.dtype) for name, tensor in sample.tensors.items())


def similar_length(length: int) -> int:
    """Equal for lengths of which none is padded to more than twice its own, or to SHORT."""
    return max(SHORT, 1 << (length - 1).bit_length())


def stack(samples: Sequence[Sample]) -> Tensors:
    """Stack samples of one key: every tensor gains a first dimension, the batch."""
    names = samples[0].tensors
    return {name: torch.stack([sample.tensors[name] for sample in samples]) for name in names}


def run(
    samples: Sequence[Sample],
    predict: Callable[[Sequence[Sample]], Sequence[Answer]],
    *,
    key: Callable[[Sample], Hashable],
    limit: int,
) -> list[Answer | HandlerError]:
    """Answer every sample, in batches of samples of the same key.

    Args:
        samples: in any order and of any keys.
        predict: answers one batch; may raise anything.
        key: which samples can share a batch.
        limit: the largest batch.

    Returns:
        For every sample its answer, or the error that it alone caused.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    results: list[Answer | HandlerError | None] = [None] * len(samples)
    for index, sample in enumerate(samples):
        try:
            groups[key(sample)].append(index)
        except Exception as error:  # a task's decode may return anything
            results[index] = unexpected(error)
    for members in groups.values():
        for start in range(0, len(members), limit):
            chunk = members[start : start + limit]
            answers = _predict_or_split([samples[index] for index in chunk], predict)
            for index, answer in zip(chunk, answers, strict=True):
                results[index] = answer
    return results  # type: ignore[return-value]  # every index has a group or an error


def in_steps(
    run: Callable[[Tensors], Tensors],
    batch: Tensors,
    rows: int,
    check_time: Callable[[], None] = lambda: None,
) -> Tensors:
    """Run a model on a batch, at most `rows` of it at once: its memory is bounded, too.

    Args:
        run: the model.
        batch: named tensors of any number of rows.
        rows: how many at once.
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
    samples: Sequence[Sample], predict: Callable[[Sequence[Sample]], Sequence[Answer]]
) -> list[Answer | HandlerError]:
    try:
        answers = list(predict(samples))
        if len(answers) != len(samples):
            raise ModelError(f"{len(samples)} inputs gave {len(answers)} answers")
        return list(answers)
    except Exception as error:  # a model may raise anything, and its neighbours must not notice
        if len(samples) == 1:
            return [blame(error)]
        middle = len(samples) // 2
        return [
            *_predict_or_split(samples[:middle], predict),
            *_predict_or_split(samples[middle:], predict),
        ]


def blame(error: Exception) -> HandlerError:
    """What a model has raised on a single input, as its client is told."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        logger.error("out of memory on a single input", exc_info=error)
        return ModelError("not enough memory for this input", hint="send less", status=507)
    return unexpected(error)
