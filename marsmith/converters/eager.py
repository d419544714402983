"""Saves a module as it is: its weights as safetensors, its code as the file that defines it."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import torch
from safetensors.torch import save_model

from handlers.runtimes.eager import DTYPES, ModuleRuntime
from marsmith.converters import Artifact, Job
from marsmith.converters._folded import Folded, FoldedAlone
from marsmith.errors import BuildError, UnsupportedError, reason
from marsmith.recipe.references import resolve
from marsmith.sources import factory as factory_source

PRECISIONS = ("fp32", "bf16", "fp16")  # quantised modules are served as TorchScript
DEFAULTS = ("fp32", "bf16")
GPU_DEFAULTS = PRECISIONS

OTHERS = "try 'runtime: torchscript' or 'onnx'"


def convert(job: Job, precision: str, out: Path) -> Artifact:
    """Save a module's weights, and the file of its factory.

    Args:
        job: the module and what is known of it; its source is a factory.
        precision: one of PRECISIONS.
        out: an existing folder.

    Raises:
        BuildError: the factory's module is not a file.
        UnsupportedError: the source has no factory, what the factory makes no longer fits the
            weights, or eager doesn't run this precision.
    """
    if precision not in PRECISIONS:
        raise UnsupportedError(
            f"eager runs no {precision}; it runs {', '.join(PRECISIONS)}",
            "use 'runtime: torchscript' for quantised modules",
        )
    if not isinstance(job.source, factory_source.Factory):
        raise UnsupportedError(
            "eager needs a source with a factory, whose code goes into the archive",
            f"{OTHERS}; or write a function that makes the module into a file, and name it:"
            " 'source: {factory: my_file:my_function, checkpoint: ...}'",
        )
    if isinstance(job.module, (Folded, FoldedAlone)):
        raise UnsupportedError(
            "eager runs the module that the factory makes, and nothing before it",
            "use 'runtime: torchscript', 'pt2', 'onnx' or 'openvino'; or leave out"
            " 'input_dtype: uint8'",
        )
    factory, _, function = job.source.factory.partition(":")
    source = inspect.getsourcefile(importlib.import_module(factory))
    if source is None:
        raise BuildError(f"the module {factory!r} is not a Python file")
    dtype = DTYPES.get(precision)
    module = _made_anew(job, job.source).to(dtype)
    # The model file gets a name of its own: the factory's package isn't in the archive.
    code = out / f"model_{factory.rpartition('.')[2]}.py"
    code.write_bytes(Path(source).read_bytes())
    weights = out / "model.safetensors"
    save_model(module, str(weights))
    options: dict[str, object] = {"factory": f"{code.stem}:{function}", "inputs": list(job.batch)}
    options["arguments"] = job.source.arguments
    if dtype:
        options["dtype"] = precision
    try:
        _run(module, job, dtype)
    except RuntimeError as error:
        raise UnsupportedError(
            f"the model doesn't run in {precision}: {reason(error)}", OTHERS
        ) from error
    if _takes_channels_last(module, job, dtype):
        options["channels_last"] = True
    if job.settings.compile:
        options["compile"] = True
    return Artifact(weights, (code,), options, job.made_for(precision))


def _made_anew(job: Job, source: factory_source.Factory) -> torch.nn.Module:
    """The module that a worker will make: the factory's, with the job's weights."""
    module: torch.nn.Module = resolve(source.factory)(**source.arguments)
    try:
        module.load_state_dict(job.module.state_dict())
    except RuntimeError as error:
        raise UnsupportedError(
            f"{source.factory} makes a module that the weights no longer fit, because a pass "
            "changed its shape",
            OTHERS,
        ) from error
    return module.eval()


def _takes_channels_last(module: torch.nn.Module, job: Job, dtype: torch.dtype | None) -> bool:
    """Whether a module has convolutions, and runs with its images laid out channels last."""
    if not any(weight.dim() == 4 for weight in module.parameters()):
        return False
    try:
        laid_out = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _run(laid_out, job, dtype)
    except RuntimeError:  # such as a view() of what must be contiguous
        return False
    return True


def _run(module: torch.nn.Module, job: Job, dtype: torch.dtype | None) -> None:
    ModuleRuntime(module.to(job.device), job.device, dtype)(job.batch)
