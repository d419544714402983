"""A model whose first steps are what a handler would do otherwise: normalising pixels, say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from marsmith.errors import BuildError, reason
from marsmith.sources.onnx import OnnxModule


class FoldedAlone(torch.nn.Sequential):
    """A module of one input behind another; it can be scripted if they can."""


class Folded(torch.nn.Module):
    """A module of several inputs behind others, each for one of them.

    Args:
        module: takes tensors by position.
        steps: one for each input, in their order.
    """

    def __init__(self, module: torch.nn.Module, steps: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.module, self.steps = module, torch.nn.ModuleList(steps)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Prepare each input, and call the module."""
        return self.module(*(step(x) for step, x in zip(self.steps, inputs, strict=True)))


def fold(
    module: torch.nn.Module, before: Mapping[str, torch.nn.Module], inputs: Sequence[str]
) -> torch.nn.Module:
    """Put modules before a module.

    Args:
        module: takes tensors by position.
        before: what is put before it, by input.
        inputs: the names of its inputs, in its order.

    Raises:
        BuildError: the module is an ONNX file, or TorchScript of several inputs, or frozen by the
            recipe's own code.
    """
    if isinstance(module, OnnxModule):
        raise BuildError(
            f"{module.path.name} takes what it was exported for, and nothing can be put before it",
            "leave out 'input_dtype: uint8', or export the model with its normalisation in it",
        )
    steps = [before.get(name, torch.nn.Identity()) for name in inputs]
    folded = FoldedAlone(*steps, module) if len(steps) == 1 else Folded(module, steps)
    if not isinstance(module, torch.jit.ScriptModule):
        return folded.eval()
    try:
        scripted: torch.nn.Module = torch.jit.script(folded.eval())
    except Exception as error:  # the compiler raises what it meets
        raise BuildError(
            f"nothing can be put before this TorchScript: {reason(error)}",
            "leave out 'input_dtype: uint8', or script the model with its normalisation in it",
        ) from error
    return scripted
