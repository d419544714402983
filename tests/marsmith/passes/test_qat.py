from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx

from examples.digits import training_set
from marsmith.errors import BuildError
from marsmith.passes.qat import Qat
from tests.support.passes import MakeWork, Measure

# torch's own int8, deprecated in favour of torchao's, warns of its own defaults.
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.ao.quantization:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max:UserWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
]

Model = Callable[[torch.Tensor], torch.Tensor]


def int8(module: torch.nn.Module) -> Model:
    """The module in torch's static int8, with ranges from a part of the training data."""
    batch = training_set().images[:256]
    mapping = get_default_qconfig_mapping("x86")
    prepared = quantize_fx.prepare_fx(copy.deepcopy(module), mapping, (batch,))
    prepared(batch)
    return quantize_fx.convert_fx(prepared)


def skewed(module: torch.nn.Module) -> torch.nn.Module:
    """The same function, but channels whose ranges differ by a factor of 300.

    Such are the models that static int8 loses: one scale for all channels leaves nothing of the
    small ones.
    """
    norm, following = module.get_submodule("features.1"), module.get_submodule("features.3")
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert isinstance(following, torch.nn.Conv2d)
    factors = torch.logspace(-2.5, 0, 16)
    with torch.no_grad():
        norm.weight.mul_(factors)
        norm.bias.mul_(factors)
        following.weight.div_(factors[:, None, None])
    return module


def test_a_model_that_int8_loses_is_won_back(
    digits: torch.nn.Module, work: MakeWork, accuracy: Measure
) -> None:
    module = skewed(digits)
    assert accuracy(module) >= 0.98
    lost = accuracy(int8(module))
    assert lost < 0.8
    tuned, report = Qat(epochs=3, learning_rate=0.003).apply(module, work(epochs=1))
    assert report["layers"] == 3
    assert accuracy(int8(tuned)) >= lost + 0.1


def test_a_model_that_int8_keeps_is_kept(
    digits: torch.nn.Module, work: MakeWork, accuracy: Measure
) -> None:
    before = digits.state_dict().copy()
    tuned, _ = Qat(epochs=1).apply(digits, work(learning_rate=0.001))
    assert accuracy(int8(tuned)) >= 0.98
    after = tuned.state_dict()
    assert set(after) == set(before)
    assert torch.equal(after["features.1.running_mean"], before["features.1.running_mean"])
    assert accuracy(torch.jit.script(tuned)) == accuracy(tuned)


def test_a_model_without_such_layers_is_said(work: MakeWork) -> None:
    with pytest.raises(BuildError, match="no convolution or linear layer"):
        Qat().apply(torch.nn.ReLU(), work(epochs=1))
