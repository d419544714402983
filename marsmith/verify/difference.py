"""How outputs differ from those that they are compared with."""

from __future__ import annotations

import math

import torch

from handlers.runtimes import Tensors
from marsmith.errors import BuildError
from marsmith.report.measurements import Difference


def compare(outputs: Tensors, reference: Tensors) -> dict[str, Difference]:
    """The difference of each output from the reference's.

    Raises:
        BuildError: the outputs differ in name or shape.
    """
    mine, its = ({k: tuple(t.shape) for k, t in each.items()} for each in (outputs, reference))
    if mine != its:
        raise BuildError(f"the outputs are {mine}, the original's {its}")
    return {name: _compare(outputs[name], wanted) for name, wanted in reference.items()}


def _compare(output: torch.Tensor, wanted: torch.Tensor) -> Difference:
    if not wanted.numel():  # a detector that finds nothing in any image of a batch
        return Difference()
    mine, its = (t.cpu().double().reshape(len(t), -1) for t in (output, wanted))
    # A NaN counts as the largest error; `max` and `min` would lose it.
    error = float((mine - its).abs().nan_to_num(nan=math.inf).max())
    magnitude = float(its.abs().nan_to_num(nan=0.0).max())
    cosines = torch.cosine_similarity(mine, its).nan_to_num(nan=-1.0)
    cosines[(mine == its).all(dim=1)] = 1.0  # zeros, too
    return Difference(error, error / magnitude if magnitude else error, float(cosines.min()))
