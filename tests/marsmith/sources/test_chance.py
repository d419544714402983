from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from marsmith.sources._chance import Chance


class Net(nn.Module):
    """Layers that are made by chance in each of torch's ways, and one that isn't."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)
        self.words = nn.Embedding(5, 4)
        self.norm = nn.BatchNorm2d(2)
        self.places = nn.Parameter(torch.randn(3, 4) * 0.02)
        self.turned = nn.Linear(4, 4, bias=False)
        nn.init.orthogonal_(self.turned.weight)
        self.cut = nn.Linear(4, 4, bias=False)
        nn.init.trunc_normal_(self.cut.weight, std=0.02)


NAMES = (
    "places", "convolution.weight", "convolution.bias", "words.weight", "turned.weight",
    "cut.weight",
)  # fmt: skip


def made() -> nn.Module:
    torch.manual_seed(3)  # which makes them no less random
    return Net()


def halved() -> nn.Module:
    return made().half()


def loaded() -> nn.Module:
    weights = {name: torch.ones_like(each) for name, each in Net().state_dict().items()}
    module = made()
    module.load_state_dict(weights)
    return module


def taken() -> nn.Module:
    weights = {name: torch.ones_like(each) for name, each in Net().state_dict().items()}
    module = made()
    module.load_state_dict(weights, assign=True)
    return module


def trained() -> nn.Module:
    module = made()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    sum(each.square().sum() for each in module.parameters()).backward()  # type: ignore[union-attr]
    optimiser.step()
    return module


def with_a_new_head() -> nn.Module:
    module = loaded()
    module.turned = nn.Linear(4, 4)
    return module


def copied_by_chance() -> nn.Module:
    module = loaded()
    with torch.no_grad():
        module.cut.weight.copy_(torch.rand(4, 4))  # type: ignore[union-attr, operator]
    return module


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (made, set(NAMES)),
        (halved, set(NAMES)),
        (loaded, set()),
        (taken, set()),
        (trained, set()),
        (with_a_new_head, {"turned.weight", "turned.bias"}),
        (copied_by_chance, {"cut.weight"}),
    ],
)
def test_what_chance_alone_has_set_is_known(
    make: Callable[[], nn.Module], expected: set[str]
) -> None:
    with Chance() as chance:
        module = make()
    assert set(chance.of(module)) == expected


def test_afterwards_nothing_is_noted() -> None:
    with Chance() as chance:
        pass
    assert chance.of(made()) == ()
    trained()
    assert chance.random == {}
