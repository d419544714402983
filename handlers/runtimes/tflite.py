"""A TFLite file, executed by LiteRT on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from handlers.errors import LoadError
from handlers.runtimes import Runtime, Tensors

SIGNATURE = "serving_default"


def load(
    path: Path,
    device: torch.device,
    *,
    inputs: list[str],
    outputs: dict[str, str],
    rows: int | None = None,
) -> Runtime:
    """Load a TFLite file, with as many threads as torch has now.

    Args:
        path: a model with a signature.
        device: not used: LiteRT's delegates for GPUs aren't in its Python package.
        inputs: what the signature calls the inputs, in the order in which they are given.
        outputs: what it calls the outputs, by their own names.
        rows: how many rows the model takes at once; None for any.

    Raises:
        LoadError: LiteRT is missing, or can't load the file; the file has no such signature.

    See:
        https://ai.google.dev/edge/litert/inference
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise LoadError("tflite needs LiteRT", hint="pip install ai-edge-litert") from error
    try:
        interpreter = Interpreter(str(path), num_threads=torch.get_num_threads())
        runner = interpreter.get_signature_runner(SIGNATURE)
    except (RuntimeError, ValueError) as error:
        raise LoadError(f"{path.name} can't be loaded by LiteRT: {error}") from error
    dtypes = {name: each["dtype"] for name, each in runner.get_input_details().items()}
    wrong = {*inputs, *outputs.values()} - {*dtypes, *runner.get_output_details()}
    if wrong:
        raise LoadError(f"{path.name} has no input or output {', '.join(sorted(wrong))}")

    def once(tensors: Sequence[torch.Tensor]) -> Tensors:
        feed = {
            name: tensor.numpy(force=True).astype(dtypes[name], copy=False)
            for name, tensor in zip(inputs, tensors, strict=True)
        }
        # It allocates only when a size changes, and its results are copies.
        results = runner(**feed)
        return {name: torch.from_numpy(results[key]) for name, key in outputs.items()}

    def run(batch: Tensors) -> Tensors:
        tensors = tuple(batch.values())
        if rows is None:
            return once(tensors)
        parts = [once(part) for part in zip(*(t.split(rows) for t in tensors), strict=True)]
        return {name: torch.cat([part[name] for part in parts]) for name in outputs}

    return run
