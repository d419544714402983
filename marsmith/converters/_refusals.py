"""Refusals of what a source makes and a converter can't take."""

from __future__ import annotations

import torch

from marsmith.converters import Job
from marsmith.errors import UnsupportedError
from marsmith.sources import pt2
from marsmith.sources.onnx import OnnxModule


def refuse_onnx(job: Job, form: str) -> None:
    """Refuse a job whose module is an ONNX file.

    Args:
        job: the converter's job.
        form: what the converter writes, in words.

    Raises:
        UnsupportedError: the module is an ONNX file.
    """
    if isinstance(job.module, OnnxModule):
        raise UnsupportedError(
            f"an ONNX file can't become {form}",
            "convert it to onnx, openvino, tflite or tf_savedmodel",
        )


def refuse_exported(job: Job, form: str) -> None:
    """Refuse a job whose module is an exported program; see `refuse_onnx`.

    Raises:
        UnsupportedError: the module is an exported program.
    """
    if isinstance(job.source, pt2.Pt2File):
        raise UnsupportedError(
            f"an exported program can't become {form}",
            "convert it to pt2, onnx, openvino, tflite or tf_savedmodel",
        )


def refuse_torchscript(job: Job, form: str) -> None:
    """Refuse a job whose module is a TorchScript file; see `refuse_onnx`.

    Raises:
        UnsupportedError: the module is a TorchScript file.
    """
    if isinstance(job.module, torch.jit.ScriptModule):
        raise UnsupportedError(
            f"a TorchScript file can't become {form}", "convert it to torchscript"
        )


def others(job: Job) -> str:
    """What else may take a module that TorchScript doesn't."""
    if hasattr(job.source, "factory"):
        return "use 'runtime: eager', which takes any module"
    return "use 'runtime: pt2' or 'onnx'; eager takes any module of a 'source: {factory: ...}'"
