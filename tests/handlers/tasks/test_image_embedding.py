"""Images to vectors, whatever shape the model gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers.errors import ModelError
from handlers.task import NoOptions
from handlers.tasks.image_embedding import ImageEmbedding
from tests.support.images import encode, noise


@pytest.fixture
def handler(tmp_path: Path) -> ImageEmbedding:
    made = ImageEmbedding()
    made.configure({"task": "image_embedding", "greyscale": True, "resize": [8, 8]}, tmp_path)
    return made


def answered(handler: ImageEmbedding, outputs: torch.Tensor) -> list[list[float]]:
    sample = handler.decode(encode(noise()), NoOptions())
    answers = handler.answer({"output": outputs}, [sample] * len(outputs))
    return [answer.embedding for answer in answers]


def near(*vectors: list[float]) -> list[Any]:
    return [pytest.approx(vector, abs=1e-6) for vector in vectors]


def test_vectors_have_length_one(handler: ImageEmbedding) -> None:
    assert answered(handler, torch.tensor([[3.0, 4.0], [0.0, -2.0]])) == near([0.6, 0.8], [0, -1])


def test_maps_are_averaged(handler: ImageEmbedding) -> None:
    maps = torch.tensor([[[[3.0, 3.0]], [[8.0, 0.0]]]])  # (1, 2, 1, 2)
    assert answered(handler, maps) == near([0.6, 0.8])


def test_vectors_may_stay_as_the_model_made_them(tmp_path: Path) -> None:
    handler = ImageEmbedding()
    handler.configure({"task": "image_embedding", "normalise": False, "resize": 8}, tmp_path)
    assert answered(handler, torch.tensor([[3.0, 4.0]])) == [[3, 4]]


def test_a_vector_of_nothing_is_a_vector(handler: ImageEmbedding) -> None:
    assert json.dumps(answered(handler, torch.zeros(1, 3))) == "[[0.0, 0.0, 0.0]]"


@pytest.mark.parametrize("shape", [(1,), (1, 2, 3), (1, 2, 3, 4, 5)])
def test_a_model_of_another_kind_is_named(handler: ImageEmbedding, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"an embedding is \(N, D\), this one is"):
        answered(handler, torch.zeros(shape))
