"""Trains weights while they are rounded, so that they lose less when int8 rounds them.

Only the training sees the rounding. The result is the same module with other weights, so that
every runtime's own static int8 gains from it.

See: B. Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, 2018, arXiv:1712.05877.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from marsmith.errors import BuildError
from marsmith.passes import Work
from marsmith.recipe.sections import TrainedPass
from marsmith.training.fit import fit, planned

SMALLEST = 1e-12  # the scale of a channel or a tensor of zeros


class Qat(TrainedPass):
    """Fine-tuning with weights and inputs of convolutions and linear layers rounded to int8.

    Weights have a scale for each output channel, symmetric around zero; inputs have one scale,
    from the smallest to the largest of the batch. Engines fold a BatchNorm that follows into these
    weights, which scales whole channels and so doesn't change how they round; its statistics stay
    as they were.
    """

    epochs: int | None = Field(None, ge=1)
    """Of training while weights are rounded; by default the `training:` section's."""

    def apply(self, module: nn.Module, work: Work) -> tuple[nn.Module, dict[str, object]]:
        """Train a module in place.

        Raises:
            BuildError: the module has no such layers, or can't be trained.
        """
        layers = [each for each in module.modules() if isinstance(each, (_ConvNd, nn.Linear))]
        if not layers:
            raise BuildError("qat finds no convolution or linear layer to train")
        training = planned(self, work.training)
        assert training is not None  # noqa: S101 - there is always an epoch
        for layer in layers:
            axis = 1 if isinstance(layer, _ConvTransposeNd) else 0
            parametrize.register_parametrization(layer, "weight", _Rounded(axis))
        hooks = [layer.register_forward_pre_hook(_round_input) for layer in layers]
        report = fit(module, training, work.cache, work.key, work.say, still=(_BatchNorm,))
        for hook in hooks:
            hook.remove()
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        return module, {"layers": len(layers), **report}


class _Rounded(nn.Module):
    """Rounds a weight as int8 would; gradients pass as if it weren't rounded."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        others = [axis for axis in range(weight.ndim) if axis != self.axis]
        scale = weight.detach().abs().amax(others).clamp_min(SMALLEST) / 127
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, self.axis, -127, 127)


def _round_input(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    tensor, *others = inputs
    # Zero is always among the values: padding must be exact.
    low = tensor.detach().amin().clamp_max(0)
    scale = ((tensor.detach().amax().clamp_min(0) - low) / 255).clamp_min(SMALLEST)
    zero = (-low / scale).round().to(torch.int32)
    return (torch.fake_quantize_per_tensor_affine(tensor, scale, zero, 0, 255), *others)
