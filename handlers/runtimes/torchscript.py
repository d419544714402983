"""A scripted or traced module in one `.pt` file: no Python code of the model's own needed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from handlers.errors import LoadError
from handlers.runtimes import Runtime
from handlers.runtimes.eager import ModuleRuntime, dtype_of


def load(
    path: Path,
    device: torch.device,
    *,
    inputs: list[str] | None = None,
    dtype: str | None = None,
    engine: str | None = None,
    optimize: bool = False,
) -> Runtime:
    """Load a TorchScript file.

    Args:
        path: what `torch.jit.save` wrote.
        device: where the module runs.
        inputs: names of what the module takes, in that order; see `eager.ModuleRuntime`.
        dtype: the type the module computes in, one of eager's DTYPES; float32 by default.
        engine: the engine that runs a quantised module's operators, for the whole process.
        optimize: prepare the weights of a frozen module for this CPU.

    Raises:
        LoadError: not a TorchScript file, one that this version of torch can't read, or one
            whose quantised operators don't run on this machine.
    """
    cast = dtype_of(dtype)
    if engine is not None:
        supported = torch.backends.quantized.supported_engines
        if engine not in supported or device.type != "cpu":
            raise LoadError(
                f"{path.name} is quantised for {engine!r}, which torch doesn't have on "
                f"{device.type} here; it has: {', '.join(supported)}"
            )
        torch.backends.quantized.engine = engine
    try:
        module = torch.jit.load(str(path), map_location=device)
        # Not before it is saved: weights in a CPU's own layout can't be saved.
        if optimize and device.type == "cpu":
            module = torch.jit.optimize_for_inference(module)
    except (RuntimeError, ValueError) as error:
        raise LoadError(f"{path.name} can't be loaded as TorchScript: {error}") from error
    # A frozen module has no `training` attribute to change; `eval` on it would fail.
    module = module.eval() if hasattr(module, "training") else module
    # An optimised or quantised module has no gradients; the module in the file has them.
    plain = partial(torch.jit.load, str(path), map_location=device) if optimize else lambda: module
    gradients = None if cast or engine else plain
    return ModuleRuntime(module, device, cast, gradients, inputs=inputs)
