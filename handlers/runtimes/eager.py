"""A plain PyTorch module: its weights as safetensors, its code as a Python file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import torch

from handlers.errors import LoadError
from handlers.runtimes import Runtime, Tensors, ordered

Outputs = torch.Tensor | Sequence[torch.Tensor] | Tensors
"""What a module may return."""

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def load(
    path: Path,
    device: torch.device,
    *,
    factory: str,
    inputs: list[str] | None = None,
    arguments: dict[str, object] | None = None,
    dtype: str | None = None,
    channels_last: bool = False,
    compile: bool = False,  # noqa: A002 - what torch calls it, too
) -> Runtime:
    """Make the module and load its weights.

    Args:
        path: weights, a `.safetensors` file whose keys are the module's state_dict's.
        device: where the module runs.
        factory: "file:function" that makes the module; `file.py` lies beside the weights.
        inputs: names of what the module takes, in that order; see `ModuleRuntime`.
        arguments: what the function is called with, by name.
        dtype: what the module computes in, one of DTYPES; float32 by default.
        channels_last: use the memory layout that convolutions are fastest with.
        compile: `torch.compile` it; the first batches of each shape wait for that.

    Raises:
        LoadError: safetensors is missing, the factory can't be found, the weights don't fit; or
            there is nothing here to compile with.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_model
    except ImportError as error:
        raise LoadError("eager needs safetensors", hint="pip install safetensors") from error
    name, _, function = factory.partition(":")
    try:
        make = getattr(_import(path.with_name(f"{name}.py")), function)
    except Exception as error:  # the module may raise anything
        raise LoadError(f"no model factory {factory!r} in this archive: {error}") from error
    cast = dtype_of(dtype)
    module: torch.nn.Module = make(**(arguments or {})).to(cast)
    try:
        load_model(module, path)
    except SafetensorError as error:
        raise LoadError(f"{path.name} is not a safetensors file: {error}") from error
    except RuntimeError as error:
        raise LoadError(f"{path.name} doesn't fit {factory}: {error}") from error
    module = module.to(device).eval()
    if channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast = _compiled(module, device) if compile else module
    return ModuleRuntime(fast, device, cast, None if cast else lambda: module, inputs=inputs)


def dtype_of(name: str | None) -> torch.dtype | None:
    """The floating type of that name; None, which is float32, for None.

    Raises:
        LoadError: there is no such type.
    """
    if name is None:
        return None
    if name not in DTYPES:
        raise LoadError(f"there is no dtype {name!r}; there are: {', '.join(DTYPES)}")
    return DTYPES[name]


def _compiled(module: torch.nn.Module, device: torch.device) -> Callable[..., Outputs]:
    # torch.compile looks for its compiler when the first batch comes: too late for an error.
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise LoadError("torch.compile needs triton on a GPU", hint="pip install triton")
    else:
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            raise LoadError(
                "torch.compile needs a C++ compiler, and there is neither $CXX nor g++ here",
                hint="apt-get install g++, or build without conversion.compile",
            ) from None
    compiled: Callable[..., Outputs] = torch.compile(module, dynamic=True)
    return compiled


def _import(file: Path) -> ModuleType:
    # By its path: when an archive is being built, its folder isn't on sys.path.
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


class ModuleRuntime:
    """A module, which takes tensors by position, as a runtime, which takes them by name.

    A module that returns one tensor has one output, "output"; a list or tuple has "output_0",
    "output_1" …; a dictionary names its own.

    Args:
        module: called with tensors on `device`.
        device: where the module runs. Outputs come to the CPU, unless an input is on the device
            already: who keeps a cache there wants what is new in it there, too.
        dtype: of the module's floating inputs, when it isn't float32; outputs are float32 again.
        differentiable: gives the module in a form that has gradients, when there is one.
        inputs: names of what the module takes, in that order; without them, tensors go in in the
            order in which they come.
    """

    def __init__(
        self,
        module: Callable[..., Outputs],
        device: torch.device,
        dtype: torch.dtype | None = None,
        differentiable: Callable[[], Callable[..., Outputs]] | None = None,
        *,
        inputs: Sequence[str] | None = None,
    ) -> None:
        self._module, self._device, self._dtype = module, device, dtype
        self._inputs = inputs
        if differentiable is not None:
            self.gradients = partial(self._with_gradients, cache(differentiable))

    def __call__(self, inputs: Tensors) -> Tensors:
        """Run the module."""
        stays = any(tensor.device.type == self._device.type for tensor in inputs.values())
        with torch.inference_mode():
            outputs = self._module(*(_cast(each, self._dtype) for each in self._placed(inputs)))
            return {
                name: _cast(tensor if stays else tensor.cpu(), self._dtype and torch.float32)
                for name, tensor in named(outputs).items()
            }

    def _with_gradients(
        self, differentiable: Callable[[], Callable[..., Outputs]], inputs: Tensors
    ) -> Tensors:
        outputs = differentiable()(*self._placed(inputs))
        return {name: tensor.cpu() for name, tensor in named(outputs).items()}

    def _placed(self, inputs: Tensors) -> list[torch.Tensor]:
        """The inputs on the module's device, in its order."""
        given = inputs if self._inputs is None else ordered(inputs, self._inputs)
        return [tensor.to(self._device) for tensor in given.values()]


def _cast(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    return tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor


def named(outputs: Outputs) -> Tensors:
    """Name what a module returned."""
    if isinstance(outputs, torch.Tensor):
        return {"output": outputs}
    if isinstance(outputs, dict):
        return outputs
    return {f"output_{index}": tensor for index, tensor in enumerate(outputs)}
