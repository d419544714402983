"""What a handler leaves to the model: done outside it for the original, and inside what ships."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from handlers.base import Handler
from handlers.runtimes import Runtime, Tensors
from handlers.runtimes.eager import ModuleRuntime
from marsmith.converters._folded import fold
from marsmith.errors import GateError
from marsmith.report.measurements import FOLDED, Rung
from marsmith.verify.ladder import Ladder
from marsmith.verify.untouched import TOLERANCE


def outside(
    handler: Handler[Any, Any, Any],
    module: torch.nn.Module,
    device: torch.device,
    inputs: Sequence[str],
) -> Runtime:
    """A copy of the recipe's own module as a runtime, for which `handler` prepares inputs wholly.

    Args:
        handler: configured as it will be served.
        module: takes what it was trained on.
        device: where it runs.
        inputs: the names of its inputs, in its order.
    """
    runtime = _copied(module, device, inputs)
    if not handler.preparation():
        return runtime

    def run(batch: Tensors) -> Tensors:
        return runtime(handler.prepared(batch))

    return run


def inside(
    before: Mapping[str, torch.nn.Module],
    module: torch.nn.Module,
    device: torch.device,
    inputs: Sequence[str],
    ladder: Ladder,
) -> tuple[torch.nn.Module, Rung]:
    """Put what a handler leaves to the model into the module.

    Args:
        before: by input, what comes before the module; see `Task.preparation`.
        module: the recipe's own, after its passes.
        device: where it is compared.
        inputs: the names of its inputs, in its order.
        ladder: refers to the module as `outside` runs it.

    Returns:
        The module that is converted, and what was measured of it.

    Raises:
        BuildError: nothing can be put before this module.
        GateError: the two say different things.
    """
    folded = fold(module, before, inputs)
    rung, _ = ladder.measure(FOLDED, _copied(folded, device, inputs))
    if not rung.difference.max_rel_error <= TOLERANCE:
        raise GateError(
            f"with the preparation of {', '.join(before)} in it, the model's outputs differ by"
            f" {rung.difference.max_rel_error:.3g} of the largest; {TOLERANCE:g} is allowed",
            "let the handler prepare inputs: leave out 'input_dtype: uint8'",
        )
    return folded, rung


def _copied(module: torch.nn.Module, device: torch.device, inputs: Sequence[str]) -> ModuleRuntime:
    # With gradients, the weights of a copied TorchScript were computed from its own.
    with torch.no_grad():
        return ModuleRuntime(copy.deepcopy(module).to(device), device, inputs=inputs)
