"""The digits model, trained once for all tests, and what passes are given with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from examples.digits import split
from handlers.runtimes import Tensors
from marsmith.cache import Cache
from marsmith.passes import Work
from marsmith.pipeline.original import MADE
from marsmith.recipe.sections import Training
from marsmith.sources.factory import Factory
from tests.support.passes import MakeWork, Measure


@pytest.fixture
def digits(store: Path) -> torch.nn.Module:
    """The trained model, to be changed."""
    source = Factory(factory="examples.digits:model", train="examples.digits:train")
    return source.load(Cache(store / ".cache" / MADE), lambda line: None)


@pytest.fixture
def work(tmp_path: Path) -> MakeWork:
    """Makes a `Work`; with settings of a training it has one, on the digits."""

    def make(batch: Tensors | None = None, **training: object) -> Work:
        data = {"data": "examples.digits:training_set", **training}
        return Work(
            batch or {"image": torch.zeros(2, 1, 8, 8)},
            Training.model_validate(data) if training else None,
            Cache(tmp_path / "cache"),
            "key",
            lambda line: None,
        )

    return make


@pytest.fixture(scope="session")
def accuracy() -> Measure:
    """Measures a model on the held-out digits."""
    pixels, labels, end = split()
    images = torch.from_numpy(pixels[end:])[:, None].float() / 255

    def measure(model: Callable[[torch.Tensor], torch.Tensor]) -> float:
        with torch.inference_mode():
            return float((model(images).argmax(1) == torch.from_numpy(labels[end:])).float().mean())

    return measure
