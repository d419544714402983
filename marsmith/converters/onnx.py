"""Exports an ONNX file for ONNX Runtime through `torch.export`, canonical to the byte."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from marsmith.converters import Artifact, Job, _onnx_quantised, _sensitivity
from marsmith.converters._exported import ByPosition, grown
from marsmith.converters._refusals import refuse_torchscript
from marsmith.errors import BuildError, UnsupportedError, reason
from marsmith.extras import need
from marsmith.report.measurements import LayerHarm
from marsmith.sources.onnx import OnnxModule

if TYPE_CHECKING:
    import onnx

# Not bf16: on x86, ONNX Runtime's CPU kernels know no such tensors.
PRECISIONS = ("fp32", "fp16", "int8", "int8_dynamic", "int4_weight")
DEFAULTS = ("fp32", "int8", "int8_dynamic")
GPU_DEFAULTS = ("fp32", "fp16")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")

OPSET = 18  # what torch's operators are written in; later ones are made by conversion
LIMIT = 2**31 - 2**20  # a protobuf's 2 GiB, less room for the graph
OTHERS = "try 'runtime: torchscript' or 'eager'"


def convert(job: Job, precision: str, out: Path) -> Artifact:
    """Export a module, or copy its ONNX file, and lower the precision.

    Args:
        job: the module and what is known of it.
        precision: one of PRECISIONS.
        out: an existing folder.

    Raises:
        BuildError: the exporter or the quantiser failed.
        UnsupportedError: ONNX can't express the module, or ONNX Runtime can't run the precision.
    """
    need("onnx", "onnx", "onnxscript", "onnxruntime")
    if precision not in PRECISIONS:
        raise UnsupportedError(
            f"ONNX Runtime has no fast kernels for {precision} on x86",
            f"use one of {', '.join(PRECISIONS)}",
        )
    if precision == "int4_weight" and job.device.type == "cuda":
        raise UnsupportedError("int4_weight is made for CPUs here", "use fp16 on a GPU")
    if precision.startswith("int8") and job.device.type == "cuda":
        # See: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
        raise UnsupportedError(
            f"ONNX Runtime runs {precision} on a GPU through TensorRT only", "use fp16 on a GPU"
        )
    if precision == "int8":
        need_calibration(job)
    model = out / "model.onnx"
    with tempfile.TemporaryDirectory(dir=out) as folder:
        exported = Path(folder) / "exported.onnx"
        export(job, exported)
        try:
            with quiet():
                _lower(job, precision, exported, model)
        except BuildError:
            raise
        except Exception as error:  # the quantiser raises what it meets
            raise BuildError(f"ONNX Runtime's {precision} failed: {reason(error)}") from error
    return Artifact(model, instructions=job.made_for(precision))


def harms(job: Job) -> Iterator[LayerHarm]:
    """Measure, layer by layer, how much harm static int8 does.

    Raises:
        BuildError: the export failed.
        UnsupportedError: a package or the calibration data is missing.
    """
    need("onnx", "onnx", "onnxscript", "onnxruntime")
    need_calibration(job)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "exported.onnx"
        export(job, exported)
        with quiet():
            prepared = _onnx_quantised.prepared(exported)
        yield from _sensitivity.measure(prepared, job.calibration, whole=job.whole_int8)


def need_calibration(job: Job) -> None:
    """Check that a job has data for static quantisation.

    Raises:
        UnsupportedError: it has none.
    """
    if not job.calibration:
        raise UnsupportedError(
            "int8 needs calibration data", "name some in the recipe's 'calibration:'"
        )


def export(job: Job, path: Path) -> None:
    """Write a module as one fp32 ONNX file.

    Inputs and outputs have the job's names; the batch and the varying axes are dynamic.

    Args:
        job: the module and what is known of it.
        path: the file to write.

    Raises:
        BuildError: the exporter failed.
        UnsupportedError: ONNX can't express the module; the message names the operator.
    """
    need("onnx", "onnx", "onnxscript")
    if isinstance(job.module, OnnxModule):
        _one_file(job.module.path, path)
        return
    refuse_torchscript(job, "ONNX")
    same = job.batch.keys() & set(job.outputs)
    if same:
        raise UnsupportedError(
            f"{', '.join(sorted(same))} names both an input and an output, which ONNX forbids",
            "give the output another name in what the module returns",
        )
    weights = sum(tensor.nbytes for tensor in job.module.state_dict().values())
    if weights > LIMIT:
        raise UnsupportedError(
            f"an ONNX file holds at most 2 GiB; this model's weights are {weights / 2**30:.1f} GiB",
            OTHERS,
        )
    with quiet():
        model = _program(job).model_proto
    _strip(model.graph)
    for function in model.functions:
        _strip(function)
    _name(model.graph, job)
    _name_axes(model.graph)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _program(job: Job) -> torch.onnx.ONNXProgram:
    batch = torch.export.Dim("batch")
    axes = {name: (0, *job.varying.get(name, ())) for name in job.batch}
    shapes = tuple(
        {axis: torch.export.Dim.DYNAMIC if axis else batch for axis in axes[name]}
        for name in job.batch
    )
    inputs = tuple(grown(tensor, axes[name]) for name, tensor in job.batch.items())
    try:
        program = torch.export.export(ByPosition(job.module), inputs, dynamic_shapes=(shapes,))
    except Exception as error:  # torch.export raises what it meets
        raise UnsupportedError(
            f"torch.export can't express this model: {reason(error)}", OTHERS
        ) from error
    try:
        # The fused attention of CPUs has another layout than ONNX's: views of it would not fit.
        with sdpa_kernel(SDPBackend.MATH):
            exported = torch.onnx.export(
                program,
                input_names=[f"marsmith_in_{name}" for name in job.batch],
                output_names=[f"marsmith_out_{name}" for name in job.outputs],
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise _blamed(error) from error
    assert exported is not None  # noqa: S101 - the exporter through TorchScript returns None
    return exported


def _blamed(error: BaseException | None) -> BuildError:
    """The error of a failed export; it names the operator that is to blame, if one is."""
    cause = error
    while error is not None:
        found = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", str(error))
        if found:
            return UnsupportedError(f"ONNX has no operator for torch's {found[1]}", OTHERS)
        cause, error = error, error.__cause__
    return BuildError(f"the export to ONNX failed: {reason(cause)}", OTHERS)


def _name(graph: onnx.GraphProto, job: Job) -> None:
    """Give inputs and outputs the job's names.

    The exporter doesn't check whether an inner value, such as a layer's output, has one of them.
    """
    names = {f"marsmith_in_{name}": name for name in job.batch}
    names |= {f"marsmith_out_{name}": name for name in job.outputs}
    _rename(graph, {name: f"{name}.inner" for name in names.values()} | names)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for item in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.name = names.get(item.name, item.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, names)


def _strip(graph: onnx.GraphProto | onnx.FunctionProto) -> None:
    """Drop what the exporter notes about each node: source files, lines, stack traces."""
    for each in ("node", "input", "output", "value_info", "initializer"):
        for item in getattr(graph, each, ()):
            if not isinstance(item, str):  # a function's inputs are names
                item.ClearField("metadata_props")
                item.ClearField("doc_string")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _strip(attribute.g)


def _name_axes(graph: onnx.GraphProto) -> None:
    """Name dynamic axes after the inputs that have them, where the exporter numbers them."""
    names: dict[str, str] = {}
    for value in graph.input:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            names.setdefault(size.dim_param, f"{value.name}_{axis}" if axis else "batch")
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"\w+", lambda w: names.get(w[0], w[0]), size.dim_param)


def _one_file(source: Path, path: Path) -> None:
    import onnx

    model = onnx.load(str(source), load_external_data=False)
    if not any(map(onnx.external_data_helper.uses_external_data, model.graph.initializer)):
        shutil.copyfile(source, path)
        return
    model = onnx.load(str(source))
    if model.ByteSize() > LIMIT:
        raise UnsupportedError(
            f"an ONNX file holds at most 2 GiB; {source.name} and its weights have "
            f"{model.ByteSize() / 2**30:.1f} GiB"
        )
    path.write_bytes(model.SerializeToString(deterministic=True))


def _lower(job: Job, precision: str, exported: Path, model: Path) -> None:
    if precision == "fp32":
        exported.replace(model)
    elif precision == "fp16":
        _onnx_quantised.half(exported, model)
    elif precision == "int8":
        _onnx_quantised.static(
            exported, model, job.calibration, whole=job.whole_int8, kept=job.kept
        )
    elif precision == "int4_weight":
        _onnx_quantised.weight_only(exported, model)
    else:
        _onnx_quantised.dynamic(exported, model, whole=job.whole_int8)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what engines log and warn of while they convert; what matters, they raise."""
    root, nothing = logging.getLogger(), logging.NullHandler()
    root.addHandler(nothing)  # without any handler, logging.warning() adds one for good
    before = root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(nothing)
