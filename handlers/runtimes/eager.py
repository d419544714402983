"""A plain PyTorch module: its weights as safetensors, its code as a Python file."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from handlers.errors import LoadError
from handlers.runtimes import Runtime, Tensors


def load(
    path: Path, device: torch.device, *, factory: str, arguments: dict[str, Any] | None = None
) -> Runtime:
    """Make the module and load its weights.

    Args:
        path: weights, a `.safetensors` file whose keys are the module's state_dict's.
        device: where the module runs.
        factory: "module:function" that makes the module; the module is a file of the archive.
        arguments: what the function is called with, by name.

    Raises:
        LoadError: safetensors is missing, the factory can't be found, the weights don't fit.
    """
    try:
        from safetensors.torch import load_model
    except ImportError as error:
        raise LoadError("eager needs safetensors", hint="pip install safetensors") from error
    name, _, function = factory.partition(":")
    try:
        make = getattr(importlib.import_module(name), function)
    except (ImportError, AttributeError) as error:
        raise LoadError(f"no model factory {factory!r} in this archive: {error}") from error
    module: torch.nn.Module = make(**(arguments or {}))
    try:
        load_model(module, path)
    except RuntimeError as error:
        raise LoadError(f"{path.name} doesn't fit {factory}: {error}") from error
    return wrap(module.to(device).eval(), device)


def wrap(module: torch.nn.Module, device: torch.device) -> Runtime:
    """A module as a runtime: tensors go in by position, in their order, and come out by name.

    A module that returns one tensor has one output, "output"; a list or tuple has "output_0",
    "output_1" …; a dictionary names its own.
    """

    def run(inputs: Tensors) -> Tensors:
        with torch.inference_mode():
            outputs = module(*(tensor.to(device) for tensor in inputs.values()))
            return {name: tensor.cpu() for name, tensor in _named(outputs).items()}

    return run


def _named(outputs: Any) -> Tensors:
    if isinstance(outputs, torch.Tensor):
        return {"output": outputs}
    if isinstance(outputs, dict):
        return outputs
    return {f"output_{index}": tensor for index, tensor in enumerate(outputs)}
