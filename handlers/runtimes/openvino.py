"""A model in OpenVINO's own form, an `.xml` file and a `.bin` beside it, on the CPU."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from handlers.errors import LoadError
from handlers.runtimes import Runtime, Tensors
from handlers.runtimes.onnx import matched

logger = logging.getLogger(__name__)


def load(
    path: Path,
    device: torch.device,
    *,
    precision: str = "f32",
    dynamic_quantization: bool = True,
) -> Runtime:
    """Compile the model for this CPU, with as many threads as torch has now.

    Inputs are matched by name; a single one may have any name.

    Args:
        path: the `.xml`; the weights lie beside it under the same name.
        device: not used: OpenVINO runs on the CPU.
        precision: the precision of layers that aren't quantised: "f32", or "bf16" where the CPU
            has instructions for it. Otherwise OpenVINO would choose by the CPU.
        dynamic_quantization: let CPUs that have the instructions quantise what comes to a layer of
            integer weights. Otherwise it stays in `precision`.

    Raises:
        LoadError: OpenVINO is missing, or can't load the file.

    See:
        https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/high-level-performance-hints.html
    """
    try:
        import openvino
    except ImportError as error:
        raise LoadError("openvino needs openvino", hint="pip install openvino") from error
    if device.type != "cpu":
        logger.warning("OpenVINO doesn't use %s: running on the CPU", device)
    settings: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": precision,
        # Pinned, the threads of several workers would share the first cores.
        # See: https://www.intel.com/content/www/us/en/support/articles/000058227.html
        "ENABLE_CPU_PINNING": False,
        # How many shapes seen before are cached; 5000 by default. With texts of any length a
        # worker grew by half a gigabyte, and was no faster.
        # See: https://github.com/openvinotoolkit/openvino/issues/23316
        "CPU_RUNTIME_CACHE_CAPACITY": 100,
    }
    if not dynamic_quantization:
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
    try:
        model = openvino.Core().compile_model(str(path), "CPU", settings)
    except RuntimeError as error:
        raise LoadError(f"{path.name} can't be loaded by OpenVINO: {_reason(error)}") from error
    names = [port.get_any_name() for port in model.inputs]
    outputs = [port.get_any_name() for port in model.outputs]
    request = model.create_infer_request()

    def run(inputs: Tensors) -> Tensors:
        given = matched(names, inputs)
        arrays = {name: tensor.numpy(force=True) for name, tensor in given.items()}
        # It reads inputs in place, and copies outputs, which the next call overwrites.
        results = request.infer(arrays, share_inputs=True, share_outputs=False)
        return {name: torch.from_numpy(results[index]) for index, name in enumerate(outputs)}

    return run


def _reason(error: Exception) -> str:
    # The lines before it are places in OpenVINO's source.
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
