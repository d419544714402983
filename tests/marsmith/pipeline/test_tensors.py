"""What is read from a model for a recipe of its bare tensors."""

from __future__ import annotations

import pytest
import torch

from handlers.runtimes import Tensors
from marsmith.errors import BuildError
from marsmith.pipeline import tensors

BATCH = {"x": torch.ones(2, 3)}


def test_a_model_that_keeps_something_between_requests_is_refused() -> None:
    kept = torch.zeros(2, 3)

    def remembering(batch: Tensors) -> Tensors:
        kept.add_(batch["x"])
        return {"sum": kept}

    with pytest.raises(BuildError, match="it keeps something"):
        tensors.outputs_of(remembering, BATCH)


def test_a_model_that_fails_is_told_with_its_shapes() -> None:
    def failing(batch: Tensors) -> Tensors:
        raise RuntimeError("no such size")

    with pytest.raises(BuildError, match=r"x \(2, 3\): no such size"):
        tensors.outputs_of(failing, BATCH)


def test_what_answers_the_same_again_is_taken_not_a_number_too() -> None:
    found = tensors.outputs_of(lambda b: {"y": b["x"] * float("nan"), "is": b["x"] > 0}, BATCH)
    assert found["y"].isnan().all()
