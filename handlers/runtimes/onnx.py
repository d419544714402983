"""An ONNX file, executed by ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from handlers.errors import LoadError
from handlers.runtimes import Runtime, Tensors

logger = logging.getLogger(__name__)

DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(int8)": torch.int8,
    "tensor(uint8)": torch.uint8,
    "tensor(bool)": torch.bool,
}


def load(path: Path, device: torch.device) -> Runtime:
    """Load an ONNX file, with as many threads as torch has now.

    Inputs are matched by name; a single one may have any name.

    Args:
        path: a model whose inputs and outputs are tensors of numbers.
        device: where the model runs; the CPU when this ONNX Runtime can't use a GPU.

    Raises:
        LoadError: ONNX Runtime is missing, or can't load the file.

    See:
        https://onnxruntime.ai/docs/performance/tune-performance/threading.html
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise LoadError("onnx needs onnxruntime", hint="pip install onnxruntime") from error
    providers = _providers(onnxruntime.get_available_providers(), device)
    try:
        session = onnxruntime.InferenceSession(str(path), _options(onnxruntime), providers)
    except Exception as error:  # its errors have no other base
        raise LoadError(f"{path.name} can't be loaded by ONNX Runtime: {error}") from error
    if len(providers) > 1 and session.get_providers() == ["CPUExecutionProvider"]:
        # It says why on standard error, and goes on.
        logger.warning("ONNX Runtime couldn't begin with %s: on the CPU", device)
    for each in (*session.get_inputs(), *session.get_outputs()):
        if each.type not in DTYPES:
            raise LoadError(f"{path.name}: {each.name!r} is a {each.type}, not a tensor of numbers")
    dtypes = {each.name: DTYPES[each.type] for each in session.get_inputs()}
    outputs = [each.name for each in session.get_outputs()]

    def run(inputs: Tensors) -> Tensors:
        feed = {
            name: tensor.to(dtypes[name]).numpy(force=True)
            for name, tensor in matched(dtypes, inputs).items()
        }
        try:
            arrays = session.run(outputs, feed)
        except Exception as error:  # as above
            raise RuntimeError(f"ONNX Runtime can't run {path.name}: {error}") from error
        # Each run allocates its outputs anew, and an array keeps its own alive.
        return {name: torch.from_numpy(array) for name, array in zip(outputs, arrays, strict=True)}

    return run


def _options(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Between the operators of a run its threads spin, because waking them takes longer than most
    # operators. After the run they would spin on for nothing, and slow down the decoding of the
    # next batch and the other workers.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3  # errors; warnings would go to the worker's standard error
    return options


def _providers(
    available: list[str], device: torch.device
) -> list[str | tuple[str, dict[str, object]]]:
    if device.type == "cuda":
        if "CUDAExecutionProvider" in available:
            options: dict[str, object] = {
                "device_id": device.index or 0,
                # As in PyTorch's products of matrices, float32 is float32.
                "use_tf32": 0,
                # By trying all, each new size of a batch would take seconds.
                "cudnn_conv_algo_search": "HEURISTIC",
            }
            return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]
        logger.warning("this ONNX Runtime can't use %s (onnxruntime-gpu can): on the CPU", device)
    return ["CPUExecutionProvider"]


def matched(names: Iterable[str], inputs: Tensors) -> Tensors:
    """Match inputs to the names in a file; a single one may have any name.

    Raises:
        RuntimeError: one that the file takes isn't given.
    """
    names = list(names)
    if all(name in inputs for name in names):
        return {name: inputs[name] for name in names}
    if len(names) == len(inputs) == 1:
        return dict(zip(names, inputs.values(), strict=True))
    raise RuntimeError(f"the model has the inputs {names}; {list(inputs)} were given")
