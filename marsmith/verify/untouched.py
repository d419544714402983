"""The rung before all others: what the user's own model says, without any part of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handlers.runtimes import Tensors
from handlers.task import Sample
from marsmith.client.comparison import difference
from marsmith.errors import BuildError, GateError
from marsmith.recipe.references import resolve
from marsmith.recipe.sections import Evaluation, Untouched
from marsmith.report.measurements import UNTOUCHED, Difference, Rung
from marsmith.verify import arrays
from marsmith.verify.batches import Batches
from marsmith.verify.difference import compare
from marsmith.verify.ladder import Ladder

TOLERANCE = 1e-3
"""Of a source's own library: as much as another order of sums may make."""
MOST = 64
"""Samples that are compared: all that a wrapper does wrong it does to most."""
ARRAYS = (np.ndarray, torch.Tensor)
EVERYTHING = 1000
"""Labels, where an answer has the best ones alone."""
SHOWN = 300
HINT = "mend what stands between a request and the model, or the answer: none of it is the model's"


def said(evaluation: Evaluation, bodies: Sequence[bytes]) -> Untouched | None:
    """What the recipe's `expected` function says to the first of the evaluation's data.

    Raises:
        BuildError: it doesn't return something for each body.
    """
    if evaluation.expected is None:
        return None
    chosen = list(bodies[:MOST])
    found = [
        None if isinstance(each, Mapping) and not each else each
        for each in _given(evaluation.expected, chosen)
    ]
    if len(found) != len(chosen):
        raise BuildError(
            f"{evaluation.expected} returned {len(found)} answers to {len(chosen)} bodies"
        )
    outputs = [_tensors(each) for each in found]
    if not any(each is not None for each in found):
        raise BuildError(f"{evaluation.expected} says nothing to any of {len(found)} bodies")
    pairs = zip(found, outputs, strict=True)
    answers = [None if own else _plain(answer) for answer, own in pairs]
    if arrays.named(evaluation.expected):
        return Untouched(answers, outputs, by=f"what is in {Path(evaluation.expected).name}")
    return Untouched(answers, outputs, by=f"what {evaluation.expected} returns")


def _given(expected: str, bodies: Sequence[bytes]) -> Sequence[object]:
    """What a function returns for bodies, or a file has at their places."""
    if not arrays.named(expected):
        found: Sequence[object] = resolve(expected)(bodies)
        return found
    return arrays.rows(Path(expected))[: len(bodies)]


def _tensors(found: object) -> tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor] | None:
    """The outputs that somebody returned; None if it is an answer."""
    if isinstance(found, ARRAYS):
        return (torch.as_tensor(found),)
    if isinstance(found, Mapping) and found and all(isinstance(x, ARRAYS) for x in found.values()):
        return {str(name): torch.as_tensor(each) for name, each in found.items()}
    return None


def _plain(value: object) -> object:
    """An answer as JSON would have it: lists and numbers, instead of arrays and tuples."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (*ARRAYS, np.generic)):
        return value.tolist()
    return value


def verify(
    ladder: Ladder,
    untouched: Untouched,
    tolerance: float,
    original: Rung,
    batched: Sequence[object],
) -> tuple[Rung, Rung] | None:
    """Compare the model that the ladder's handler has with the user's own.

    Args:
        ladder: its handler has the original model.
        untouched: what the user's own says to the ladder's first instances.
        tolerance: how far numbers may be apart; beyond 1, or the largest of a tensor, relatively.
        original: its rung.
        batched: what the original answers to each sample in the largest batches.

    Returns:
        The rung of the user's own, and the original's, with how far it is from that; None if there
        was nothing to compare.

    Raises:
        GateError: the original says something else, and where that begins.
    """
    worst, compared = Difference(), 0
    each_output: dict[str, Difference] = {}
    samples = ladder.batches.samples[: len(untouched.answers)]
    for index, sample in enumerate(samples):
        own, answer = untouched.outputs[index], untouched.answers[index]
        batch = ladder.handler.collate([sample])
        outputs = ladder.handler.inference(batch)
        rows = {len(tensor) for tensor in batch.values()}
        comparable = own is not None and (rows == {1} or _rows(own) == rows)
        compared += comparable or answer is not None
        if own is not None and comparable:  # one of several windows has its own outputs
            padded = ladder.handler.padded_sizes(batch)
            for name, found in _of_outputs(index, outputs, own, padded, tolerance).items():
                each_output[name] = found.worst(each_output.get(name, Difference()))
                worst = worst.worst(found)
        if answer is not None and not untouched.options:
            given = [
                ladder.handler.answer(outputs, [each])[0].to_json()
                for each in (sample, _with_all_labels(sample))
            ]
            worst = worst.worst(_of_answers(index, given, answer, tolerance))
            # In a batch, too, where masks matter: of the labels that are answered alone.
            best = _part(answer, given[0])
            worst = worst.worst(_of_answers(index, [batched[index]], best, tolerance))
    worst = worst.worst(_asked_otherwise(ladder, untouched, tolerance))
    if not compared:
        return None
    rung = Rung(UNTOUCHED, None, Difference(), {}, (1,), compared, by=untouched.by)
    return rung, replace(original, difference=worst, outputs=each_output)


def _asked_otherwise(ladder: Ladder, untouched: Untouched, tolerance: float) -> Difference:
    """Compare answers to requests that have other options: each alone, and in batches."""
    handler, worst = ladder.handler, Difference()
    asked = [
        (index, handler.decode(ladder.instances[index], replace(handler.default_options, **wanted)))
        for index, wanted in enumerate(untouched.options)
        if untouched.answers[index] is not None
    ]
    batches = Batches(handler, [sample for _, sample in asked])
    for size in sorted({1, max(ladder.batch_sizes)}):
        for members in batches.served(len(asked), size):
            samples = [asked[member][1] for member in members]
            outputs = handler.inference(handler.collate(samples))
            for member, answer in zip(members, handler.answer(outputs, samples), strict=True):
                index = asked[member][0]
                wanted = untouched.answers[index]
                worst = worst.worst(_of_answers(index, [answer.to_json()], wanted, tolerance))
    return worst


def _rows(own: tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor]) -> set[int]:
    """How many rows outputs have, of an instance that is several."""
    tensors = own.values() if isinstance(own, Mapping) else own
    return {len(each) if each.ndim else 0 for each in tensors}


def _of_outputs(
    index: int,
    outputs: Tensors,
    own: tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor],
    padded: set[int],
    tolerance: float,
) -> dict[str, Difference]:
    if not isinstance(own, Mapping):
        own = dict(zip(outputs, own, strict=False))
    if missing := sorted(set(own) - set(outputs)):
        raise BuildError(
            f"item {index}: the model has no output {missing[0]!r}",
            f"name those of: {', '.join(outputs)}; or return an array for the first",
        )
    own = {
        name: each if each.ndim == outputs[name].ndim else each[None] for name, each in own.items()
    }
    mine = {name: cut(outputs[name], each.shape, padded) for name, each in own.items()}
    shapes, wanted = ([tuple(each.shape) for each in some.values()] for some in (mine, own))
    if shapes != wanted:
        raise GateError(
            f"item {index}: the model makes outputs of {shapes} behind the handler; as its own code"
            f" runs it, of {wanted}",
            HINT,
        )
    differences = compare(mine, own)
    for name, found in differences.items():
        if not found.max_rel_error <= tolerance:
            raise GateError(
                f"item {index}: output {name!r} of the model behind the handler is"
                f" {found.max_abs_error:.3g} from what its own code makes of it (cosine"
                f" {found.min_cosine:.4f}); {tolerance:g} of the largest number is allowed",
                HINT,
            )
    return differences


def cut(tensor: torch.Tensor, shape: torch.Size, padded: set[int]) -> torch.Tensor:
    """The first part of a tensor along an axis that is as long as padded inputs are.

    Args:
        tensor: outputs.
        shape: what is left has, where it can.
        padded: the lengths along which there may be more than counts.
    """
    if tensor.ndim != len(shape):
        return tensor
    sizes = zip(tensor.shape, shape, strict=True)
    return tensor[tuple(slice(b if a in padded and a > b else a) for a, b in sizes)]


def _of_answers(
    index: int, given: Sequence[object], wanted: object, tolerance: float
) -> Difference:
    parts = [_part(each, wanted) for each in given]
    found, part = min(
        ((difference(part, wanted, relative=True), part) for part in parts),
        key=lambda each: each[0],
    )
    if not found <= tolerance:
        raise GateError(
            f"item {index} is answered with {_shown(part)}; the model's own code says"
            f" {_shown(wanted)}, and {tolerance:g} is allowed",
            HINT,
        )
    return Difference(found)


def _part(given: object, wanted: object) -> object:
    """What is named of an answer."""
    if isinstance(given, dict) and isinstance(wanted, dict):
        return {key: _part(given[key], wanted[key]) for key in wanted if key in given}
    return given


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _with_all_labels(sample: Sample[Any, Any]) -> Sample[Any, Any]:
    if not hasattr(sample.options, "top_k"):
        return sample
    return Sample(sample.tensors, replace(sample.options, top_k=EVERYTHING), sample.meta)
