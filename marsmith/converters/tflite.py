"""A TFLite file for LiteRT, through ONNX and TensorFlow."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from handlers.runtimes import tflite as runtime
from marsmith.converters import Artifact, Job, _onnx2tf
from marsmith.errors import BuildError
from marsmith.extras import need

PRECISIONS = ("fp32", "fp16", "int8", "int8_dynamic")
DEFAULTS = ()  # made for phones; on a server's CPU others are faster
PACKAGES = (*_onnx2tf.PACKAGES, "ai-edge-litert")

CPU = torch.device("cpu")
TOLERANCE = 1e-4  # of fp32, as a share of the largest magnitude, at least of 1


def convert(job: Job, precision: str, out: Path) -> Artifact:
    """Convert a module to TFLite.

    fp16 and int8_dynamic keep weights in fewer bits; int8 computes in integers wherever LiteRT
    can. Inputs and outputs are as PyTorch has them, in every precision.

    Args:
        job: the module and what is known of it.
        precision: one of PRECISIONS.
        out: an existing folder.

    Raises:
        UnsupportedError: a package or the calibration data is missing, or TFLite can't express
            the model; the message names the operators.
        BuildError: the conversion broke, or its result doesn't run.
    """
    need("tflite", "ai_edge_litert")
    artifact, problem = _once(job, precision, out, (None, 1))
    if problem and artifact.options["rows"] is None:
        artifact.model.unlink()
        artifact, problem = _once(job, precision, out, (1,))
    if problem:
        raise BuildError(f"LiteRT doesn't run what was converted: {problem}", _onnx2tf.OTHERS)
    return artifact


def _once(
    job: Job, precision: str, out: Path, rows: tuple[int | None, ...]
) -> tuple[Artifact, str]:
    made = _onnx2tf.convert(job, precision, "tflite", out, rows)
    artifact = Artifact(out / "model.tflite", options=asdict(made))
    return artifact, _problem(job, precision, artifact)


def _problem(job: Job, precision: str, artifact: Artifact) -> str:
    """Say what is wrong with a converted model, run as it will be; empty if nothing is."""
    try:
        run = runtime.load(artifact.model, CPU, **artifact.options)
        for count in (1, 3, 1):  # a change of size, and back
            batch = _onnx2tf.rows_of(job.batch, count)
            given = run(batch)
            for name, expected in _onnx2tf.expected(job, batch).items():
                if given[name].shape != expected.shape:
                    return f"{name!r} has the shape {tuple(given[name].shape)}"
                if precision == "fp32" and not _close(given[name], expected):
                    return f"{name!r} is wrong at batch size {count}"
    except (RuntimeError, ValueError) as error:
        return str(error)
    return ""


def _close(given: torch.Tensor, expected: torch.Tensor) -> bool:
    expected = expected.double()
    bound = TOLERANCE * max(1.0, expected.nan_to_num(0, 0, 0).abs().max().item())
    return torch.allclose(given.double(), expected, rtol=0, atol=bound, equal_nan=True)
