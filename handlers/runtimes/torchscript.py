"""A scripted or traced module in one `.pt` file: no Python code of the model's own needed."""

from __future__ import annotations

from pathlib import Path

import torch

from handlers.errors import LoadError
from handlers.runtimes import Runtime
from handlers.runtimes.eager import wrap


def load(path: Path, device: torch.device) -> Runtime:
    """Load a TorchScript file.

    Args:
        path: what `torch.jit.save` wrote.
        device: where the module runs.

    Raises:
        LoadError: not a TorchScript file, or one that this version of torch can't read.
    """
    try:
        module = torch.jit.load(str(path), map_location=device)
    except (RuntimeError, ValueError) as error:
        raise LoadError(f"{path.name} can't be loaded as TorchScript: {error}") from error
    # A frozen module has no `training` attribute to change; `eval` on it would fail.
    return wrap(module.eval() if hasattr(module, "training") else module, device)
