"""A TFLite file, executed by LiteRT on the CPU."""

from __future__ import annotations

from pathlib import Path

import torch

from handlers.errors import LoadError
from handlers.runtimes import Runtime, Tensors, ordered

SIGNATURE = "serving_default"


def load(
    path: Path,
    device: torch.device,
    *,
    inputs: dict[str, str],
    outputs: dict[str, str],
    rows: int | None = None,
) -> Runtime:
    """Load a TFLite file, with as many threads as torch has now.

    Args:
        path: a model with a signature.
        device: not used: LiteRT's delegates for GPUs aren't in its Python package.
        inputs: the signature's names of the inputs, by their own names.
        outputs: the signature's names of the outputs, by their own names.
        rows: how many rows the model takes at once; None for any number.

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
    wrong = {*inputs.values(), *outputs.values()} - {*dtypes, *runner.get_output_details()}
    if wrong:
        raise LoadError(f"{path.name} has no input or output {', '.join(sorted(wrong))}")

    def once(batch: Tensors) -> Tensors:
        feed = {
            key: batch[name].numpy(force=True).astype(dtypes[key], copy=False)
            for name, key in inputs.items()
        }
        # It allocates only when a size changes, and its results are copies.
        results = runner(**feed)
        return {name: torch.from_numpy(results[key]) for name, key in outputs.items()}

    def run(batch: Tensors) -> Tensors:
        batch = ordered(batch, inputs)
        if rows is None:
            return once(batch)
        split = zip(*(tensor.split(rows) for tensor in batch.values()), strict=True)
        parts = [once(dict(zip(inputs, part, strict=True))) for part in split]
        return {name: torch.cat([part[name] for part in parts]) for name in outputs}

    return run
