from __future__ import annotations

import pytest
import torch
from torch import nn

from marsmith.errors import BuildError
from marsmith.passes.prune_unstructured import PruneUnstructured
from tests.support.passes import MakeWork, Measure


def zeros(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value == 0 for name, value in module.named_parameters() if value.ndim > 1}


def test_half_of_the_weights_are_zero_and_the_rest_still_answers(
    digits: nn.Module, work: MakeWork, accuracy: Measure
) -> None:
    module, report = PruneUnstructured(amount=0.5).apply(digits, work())
    assert report == {"sparsity": pytest.approx(0.5, abs=1e-3)}
    assert accuracy(module) >= 0.85
    assert accuracy(torch.jit.script(module)) == pytest.approx(accuracy(module), abs=0.01)


def test_what_was_pruned_stays_zero_through_training(
    digits: nn.Module, work: MakeWork, accuracy: Measure
) -> None:
    names = set(digits.state_dict())
    module, report = PruneUnstructured(amount=0.8, epochs=2).apply(
        digits, work(learning_rate=0.003)
    )
    assert report["epochs"] == 2
    assert report["sparsity"] == pytest.approx(0.8, abs=1e-3)
    assert accuracy(module) >= 0.95
    assert set(module.state_dict()) == names
    torch.jit.script(module)


def test_attention_which_never_calls_its_last_layer_keeps_its_zeros(work: MakeWork) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Flatten(1, 2), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Flatten(),
        nn.Linear(64, 10),
    )  # fmt: skip
    pruned, report = PruneUnstructured(epochs=1).apply(module.eval(), work(epochs=1))
    assert report["sparsity"] == pytest.approx(0.5, abs=1e-2)
    never_called = pruned.get_submodule("1.self_attn.out_proj")
    assert sum(int(each.sum()) for each in zeros(never_called).values()) > 0


def test_a_model_without_such_layers_is_said(work: MakeWork) -> None:
    with pytest.raises(BuildError, match="no convolution or linear layer"):
        PruneUnstructured().apply(nn.ReLU(), work())
