from __future__ import annotations

import pytest
import torch
from torch import nn

from marsmith.errors import BuildError, UnsupportedError
from marsmith.passes.prune_structured import PruneStructured
from tests.support.passes import MakeWork, Measure

IMAGE = torch.rand(2, 1, 8, 8)


class Residual(nn.Module):
    """Its second convolution makes an output, and its first is added to another."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.outer = nn.Conv2d(8, 8, 1)
        self.scores = nn.Conv2d(8, 6, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        stem = self.stem(image)
        features = torch.relu(stem + self.outer(torch.relu(self.inner(stem))))
        return features, torch.softmax(self.scores(features), 1)


class Attention(nn.Module):
    """Heads of a fixed size, which no half of the channels can fill."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(8, 16), nn.Linear(8, 16)
        self.wide, self.last = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        query = self.query(image[:, 0]).view(-1, 8, 4, 4).transpose(1, 2)
        value = self.value(image[:, 0]).view(-1, 8, 4, 4).transpose(1, 2)
        mixed = nn.functional.scaled_dot_product_attention(query, query, value)
        scores: torch.Tensor = self.last(torch.relu(self.wide(mixed.transpose(1, 2).flatten(2))))
        return scores


def test_half_of_the_channels_go_and_training_brings_the_accuracy_back(
    digits: nn.Module, work: MakeWork, accuracy: Measure
) -> None:
    change = PruneStructured(ratio=0.5, epochs=5, learning_rate=0.003)
    module, report = change.apply(digits, work(epochs=1))
    assert report["before"] == {"parameters": 10026, "macs": 88064}
    assert report["after"] == {"parameters": 3866, "macs": 25600}
    assert report["epochs"] == 5
    assert len(module.get_parameter("features.0.weight")) == 8
    assert accuracy(module) >= 0.97
    assert accuracy(torch.jit.script(module)) == pytest.approx(accuracy(module), abs=0.01)


def test_equal_models_are_pruned_equally(work: MakeWork) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        module, _ = PruneStructured(epochs=0).apply(Residual().eval(), work())
        states.append(module.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_channels_that_the_outputs_have_stay(work: MakeWork) -> None:
    module, _ = PruneStructured(epochs=0).apply(Residual().eval(), work())
    features, scores = module(IMAGE)
    assert features.shape == (2, 8, 8, 8)
    assert scores.shape == (2, 6, 8, 8)
    assert len(module.get_parameter("inner.weight")) == 4


def test_channels_that_the_recipe_names_stay(work: MakeWork) -> None:
    with pytest.raises(BuildError, match="no channels that it may remove"):
        PruneStructured(epochs=0, ignore=["inner"]).apply(Residual().eval(), work())


def test_a_model_that_breaks_is_said_with_what_to_do(work: MakeWork) -> None:
    with pytest.raises(UnsupportedError, match="can't follow this model") as error:
        PruneStructured(epochs=0).apply(Attention().eval(), work())
    assert "'ignore'" in error.value.hint
    module, report = PruneStructured(epochs=0, ignore=["query", "value"]).apply(
        Attention().eval(), work()
    )
    assert len(module.get_parameter("wide.weight")) == 16
    before, after = report["before"], report["after"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["parameters"] < before["parameters"]


def test_a_name_that_is_not_there_is_said(work: MakeWork) -> None:
    with pytest.raises(BuildError, match=r"'stam'; .* stem, inner, outer, scores"):
        PruneStructured(epochs=0, ignore=["stam"]).apply(Residual(), work())


def test_training_without_its_section_is_said(digits: nn.Module, work: MakeWork) -> None:
    with pytest.raises(BuildError, match="prune_structured trains, and the recipe has no") as error:
        PruneStructured().apply(digits, work())
    assert "epochs: 0" in error.value.hint
