"""The rung before all others: what the user's own model says, without any part of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from handlers.task import Sample
from marsmith.client.comparison import difference
from marsmith.errors import BuildError, GateError
from marsmith.recipe.references import resolve
from marsmith.recipe.sections import Evaluation, Untouched
from marsmith.report.measurements import UNTOUCHED, Difference, Rung
from marsmith.verify.difference import compare
from marsmith.verify.ladder import Ladder

TOLERANCE = 1e-3
"""Of a source's own library: as much as another order of sums may make."""
MOST = 64
"""Samples that are compared: all that a wrapper does wrong it does to most."""
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
    found = list(resolve(evaluation.expected)(chosen))
    if len(found) != len(chosen):
        raise BuildError(
            f"{evaluation.expected} returned {len(found)} answers to {len(chosen)} bodies"
        )
    outputs = [_tensors(each) for each in found]
    pairs = zip(found, outputs, strict=True)
    return Untouched([None if own else answer for answer, own in pairs], outputs)


def _tensors(found: object) -> tuple[torch.Tensor, ...] | None:
    """The outputs that somebody returned; None if it is an answer."""
    each = list(found.values()) if isinstance(found, Mapping) else [found]
    if not each or not all(isinstance(one, (np.ndarray, torch.Tensor)) for one in each):
        return None
    return tuple(torch.as_tensor(one) for one in each)


def verify(
    ladder: Ladder, untouched: Untouched, tolerance: float, batched: Sequence[object]
) -> tuple[Rung, Difference]:
    """Compare the model that the ladder's handler has with the user's own.

    Args:
        ladder: its handler has the original model.
        untouched: what the user's own says to the ladder's first instances.
        tolerance: how far numbers may be apart; beyond 1, or the largest of a tensor, relatively.
        batched: what the original answers to each sample in the largest batches.

    Returns:
        The rung of the user's own, and how far the original is from it.

    Raises:
        GateError: the original says something else, and where that begins.
    """
    worst, compared = Difference(), 0
    samples = ladder.batches.samples[: len(untouched.answers)]
    for index, sample in enumerate(samples):
        own, answer = untouched.outputs[index], untouched.answers[index]
        if own is None and answer is None:
            continue
        compared += 1
        batch = ladder.handler.collate([sample])
        outputs = ladder.handler.inference(batch)
        if own is not None:
            axes = ladder.handler.varying_axes().items()
            padded = {batch[name].shape[axis] for name, varying in axes for axis in varying}
            pairs = zip(outputs.values(), own, strict=False)
            mine = [_cut(one, other.shape, padded) for one, other in pairs]
            worst = worst.worst(_of_outputs(index, mine, own, tolerance))
        if answer is not None:
            given = [
                ladder.handler.answer(outputs, [each])[0].to_json()
                for each in (sample, _with_all_labels(sample))
            ]
            worst = worst.worst(_of_answers(index, given, answer, tolerance))
            # In a batch, of the labels that are answered: masks matter there.
            best = _part(answer, batched[index])
            worst = worst.worst(_of_answers(index, [batched[index]], best, tolerance))
    return Rung(UNTOUCHED, None, Difference(), {}, (1,), compared), worst


def _of_outputs(
    index: int, mine: Sequence[torch.Tensor], own: Sequence[torch.Tensor], tolerance: float
) -> Difference:
    pairs = zip(own, mine, strict=False)
    own = [one if one.ndim == other.ndim else one[None] for one, other in pairs]
    shapes, wanted = ([tuple(each.shape) for each in some] for some in (mine[: len(own)], own))
    if shapes != wanted:
        raise GateError(
            f"item {index}: the model makes outputs of {shapes} behind the handler; as its own code"
            f" runs it, of {wanted}",
            HINT,
        )
    names = [str(number) for number in range(len(own))]
    named = (dict(zip(names, some, strict=False)) for some in (mine, own))
    worst = Difference()
    for name, found in compare(*named).items():
        if not found.max_rel_error <= tolerance:
            raise GateError(
                f"item {index}: output {name} of the model behind the handler is"
                f" {found.max_abs_error:.3g} from what its own code makes of it (cosine"
                f" {found.min_cosine:.4f}); {tolerance:g} of the largest number is allowed",
                HINT,
            )
        worst = worst.worst(found)
    return worst


def _cut(tensor: torch.Tensor, shape: torch.Size, padded: set[int]) -> torch.Tensor:
    """The first part of a tensor along an axis that is as long as padded inputs are."""
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
