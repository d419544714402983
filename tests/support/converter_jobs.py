"""Jobs for converters, without a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from handlers.runtimes import Tensors
from handlers.runtimes.eager import ModuleRuntime
from marsmith.converters import Job
from marsmith.recipe.sections import Conversion
from marsmith.sources.factory import Factory


def job(
    module: torch.nn.Module,
    *inputs: torch.Tensor,
    calibration: Sequence[Tensors] = (),
    varying: Mapping[str, tuple[int, ...]] | None = None,
    factory: str = "examples.digits:model",
    **settings: Any,
) -> Job:
    """A job whose inputs are named "input_0", "input_1" ...; settings are `Conversion`'s."""
    batch = {f"input_{index}": tensor for index, tensor in enumerate(inputs)}
    module.eval()
    return Job(
        module=module,
        batch=batch,
        varying=varying or {},
        outputs=tuple(ModuleRuntime(module, torch.device("cpu"))(batch)),
        calibration=calibration,
        source=Factory(factory=factory),
        settings=Conversion(**settings),
    )
