from __future__ import annotations

from dataclasses import astuple

import pytest
import torch

from handlers.runtimes import Tensors
from marsmith.errors import BuildError
from marsmith.report.measurements import Difference
from marsmith.verify.difference import compare


def test_outputs_are_compared_sample_by_sample() -> None:
    reference = torch.tensor([[4.0, 0.0], [0.0, 1.0]])
    turned = torch.tensor([[4.0, 0.0], [1.0, 0.0]])
    assert compare({"a": reference}, {"a": reference}) == {"a": Difference()}
    assert compare({"a": turned}, {"a": reference}) == {"a": Difference(1.0, 0.25, 0.0)}


def test_outputs_without_any_number_are_equal() -> None:
    nothing = {"boxes": torch.zeros(2, 0, 4)}
    assert compare(nothing, nothing) == {"boxes": Difference()}


def test_every_output_has_its_own_difference() -> None:
    ones, twos = torch.ones(2, 3), 2 * torch.ones(2, 3)
    found = compare({"a": ones, "b": twos}, {"a": ones, "b": ones})
    assert found["a"] == Difference()
    assert astuple(found["b"]) == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize("outputs", [{"a": torch.zeros(1, 2)}, {"b": torch.zeros(1, 3)}, {}])
def test_outputs_of_another_name_or_shape_are_refused(outputs: Tensors) -> None:
    with pytest.raises(BuildError, match=r"'a': \(1, 3\)"):
        compare(outputs, {"a": torch.zeros(1, 3)})


def test_equal_outputs_of_zeros_are_alike() -> None:
    assert compare({"a": torch.zeros(2, 3)}, {"a": torch.zeros(2, 3)}) == {"a": Difference()}
    assert compare({"a": torch.ones(2)}, {"a": torch.ones(2)}) == {"a": Difference()}
