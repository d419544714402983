"""Sets the weights that matter least to zero; shapes and speed stay."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize, prune

from marsmith.errors import BuildError
from marsmith.passes import Work
from marsmith.recipe.sections import TrainedPass
from marsmith.training.fit import fit, planned


class PruneUnstructured(TrainedPass):
    """The smallest weights of all convolutions and linear layers together become zeros."""

    amount: float = Field(0.5, gt=0, lt=1)
    """The share of all these weights that become zeros."""
    epochs: int | None = Field(0, ge=0)
    """Of training after the change; 0 for none."""

    def apply(self, module: nn.Module, work: Work) -> tuple[nn.Module, dict[str, object]]:
        """Prune a module in place, and train the weights that are left.

        Raises:
            BuildError: the module has no such layers, or can't be trained.
        """
        layers = [each for each in module.modules() if isinstance(each, (_ConvNd, nn.Linear))]
        if not layers:
            raise BuildError("prune_unstructured finds no convolution or linear layer to prune")
        training = planned(self, work.training)
        weights = [(layer, "weight") for layer in layers]
        prune.global_unstructured(weights, prune.L1Unstructured, amount=self.amount)
        for layer in layers:
            prune.remove(layer, "weight")
        report: dict[str, float] = {}
        if training:
            for layer in layers:
                parametrize.register_parametrization(layer, "weight", _Masked(layer.weight))
            report = fit(module, training, work.cache, work.key, work.say)
            for layer in layers:
                parametrize.remove_parametrizations(layer, "weight")
        zeros = sum(int((layer.weight == 0).sum()) for layer in layers)
        return module, {"sparsity": zeros / sum(layer.weight.numel() for layer in layers), **report}


class _Masked(nn.Module):
    """Zeros that stay: `torch.nn.utils.prune` keeps them only where the layer itself is called."""

    mask: torch.Tensor

    def __init__(self, pruned: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", (pruned.detach() != 0).to(pruned.dtype))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.mask
