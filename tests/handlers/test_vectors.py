from __future__ import annotations

import pytest
import torch

from handlers.errors import ModelError
from handlers.vectors import DECIMALS, alike, finish

VECTORS = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))


def test_vectors_have_length_one_in_few_digits() -> None:
    found = finish(VECTORS, normalise=True)
    assert torch.tensor(found).norm(dim=1).tolist() == pytest.approx([1] * 5, abs=1e-6)
    assert all(number == round(number, DECIMALS) for vector in found for number in vector)
    assert finish(torch.zeros(1, 3), normalise=True) == [[0, 0, 0]]


def test_vectors_may_stay_as_they_are() -> None:
    assert finish(VECTORS, normalise=False) == VECTORS.tolist()
    assert finish(VECTORS.half(), normalise=False) == VECTORS.half().float().tolist()


def test_cosines_are_between_opposites_and_one_direction() -> None:
    one = torch.tensor([1.0, 2, 2])
    others = torch.stack([3 * one, -one, torch.tensor([2.0, -1, 0]), torch.tensor([0.0, 0, 1])])
    assert alike(one, others) == pytest.approx([1, -1, 0, 2 / 3], abs=1e-6)
    assert alike(one, torch.empty(0, 3)) == []


def test_likeness_may_be_a_product_or_minus_a_distance() -> None:
    one, others = torch.tensor([1.0, 2, 2]), torch.tensor([[1.0, 2, 2], [4.0, -2, 2]])
    assert alike(one, others, "dot") == [9, 4]
    assert alike(one, others, "euclidean") == [0, -5]
    assert alike(one, others, "manhattan") == [0, -7]


def test_what_is_no_vector_is_the_models_fault() -> None:
    with pytest.raises(ModelError, match=r"\(N, D\), this one is \(1, 2, 3\)"):
        finish(torch.zeros(1, 2, 3), normalise=True)
