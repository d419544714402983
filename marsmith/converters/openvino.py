"""OpenVINO's own format, an `.xml` file and its `.bin`, made from the ONNX export."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from handlers.runtimes.onnx import matched
from marsmith.converters import Artifact, Job
from marsmith.converters._onnx_quantised import has_attention
from marsmith.converters.onnx import OTHERS, export, need_calibration, quiet
from marsmith.converters.onnx import harms as harms
from marsmith.errors import BuildError, UnsupportedError, reason
from marsmith.extras import need

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int8_dynamic", "int8_weight", "int4_weight")
# Not int8_weight: its file is that of int8_dynamic, which is no slower.
DEFAULTS = ("fp32", "bf16", "int8", "int8_dynamic")
GROUP = 32  # the weights, along a layer's inputs, that share an int4's scale
PACKAGES = ("onnx", "onnxscript", "openvino", "nncf")


def convert(job: Job, precision: str, out: Path) -> Artifact:
    """Read a module's ONNX export with OpenVINO, and lower its precision.

    fp16, int8_dynamic, int8_weight and int4_weight keep weights in fewer bits; for int8_dynamic,
    CPUs that have the instructions also quantise activations as they come. bf16 is the fp32 model,
    run in bf16.

    Args:
        job: the module and what is known of it.
        precision: one of PRECISIONS.
        out: an existing folder.

    Raises:
        BuildError: the export, OpenVINO or NNCF failed.
        UnsupportedError: ONNX or OpenVINO can't express the module, or this CPU can't compute in
            this precision.
    """
    need("openvino", "onnx", "onnxscript", "openvino")
    if job.device.type != "cpu":
        raise UnsupportedError("openvino runs on the CPU only", "use 'runtime: onnx' on a GPU")
    if precision == "int8":
        need_calibration(job)
    if precision.startswith("int"):
        need("openvino", "nncf")
    import openvino

    core = openvino.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and "BF16" not in capabilities:
        raise UnsupportedError(
            "this CPU has no bf16 instructions, so OpenVINO would run, and measure, fp32",
            "build it on a machine that has AVX512-BF16 or AMX",
        )
    model = out / "model.xml"
    with tempfile.TemporaryDirectory(dir=out) as folder:
        exported = Path(folder) / "exported.onnx"
        export(job, exported)
        read = _read(core, exported)
        lowered = _lowered(read, job, precision, exported)
        openvino.save_model(lowered, model, compress_to_fp16=precision == "fp16")
        del read, lowered  # they hold the exported file open
    model.write_bytes(_renumbered(model.read_bytes()))
    options: dict[str, Any] = {"precision": "bf16" if precision == "bf16" else "f32"}
    if precision.endswith("_weight"):
        options["dynamic_quantization"] = False
    # With int8_dynamic, too, the file has only weights rounded, the same for every CPU.
    made_for = () if precision == "int8_dynamic" else job.made_for(precision)
    return Artifact(model, (model.with_suffix(".bin"),), options, made_for)


def _renumbered(xml: bytes) -> bytes:
    """The same model, whose nameless layers are numbered by their positions in it.

    OpenVINO goes on counting from all models that the process has had.
    """
    return re.sub(rb'(<layer id="(\d+)" name="[A-Z]\w*_)\d+(?=\w*")', rb"\1\2", xml)


def _read(core: Any, exported: Path) -> Any:
    try:
        return core.read_model(exported)
    except RuntimeError as error:
        raise UnsupportedError(
            f"OpenVINO can't express this model: {reason(error)}", OTHERS
        ) from error


def _lowered(model: Any, job: Job, precision: str, exported: Path) -> Any:
    if not precision.startswith("int"):
        return model
    with quiet(), contextlib.redirect_stdout(io.StringIO()):  # where progress bars go
        nncf = _import_nncf()
        try:
            if precision == "int8":
                return _quantised(nncf, model, job, exported)
            return _compressed(nncf, model, 4 if precision == "int4_weight" else 8)
        except UnsupportedError:
            raise
        except Exception as error:  # NNCF raises what it meets
            raise BuildError(f"NNCF's {precision} failed: {reason(error)}") from error


def _compressed(nncf: ModuleType, model: Any, bits: int) -> Any:
    if bits == 8:
        made, hint = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM), "fp32"
    else:
        made, hint = _in_4_bits(nncf, model), "int8_weight"
    constants = (each for each in made.get_ops() if each.get_type_name() == "Constant")
    types = {each.get_element_type().to_string() for each in constants}
    if not types & {f"i{bits}", f"u{bits}"}:
        raise UnsupportedError(f"this model has nothing to compress to {bits} bits", f"use {hint}")
    return made


def _in_4_bits(nncf: ModuleType, model: Any) -> Any:
    """The linear layers; the last, embeddings, convolutions and what GROUP doesn't divide have 8.

    Calibration data isn't used: NNCF's estimation of scales took five times as long, and with it a
    model of random weights no longer answered like the original.
    """
    adjust = nncf.GroupSizeFallbackMode.ADJUST  # to 8 bits; else it is an error
    return nncf.compress_weights(
        model,
        mode=nncf.CompressWeightsMode.INT4_ASYM,
        ratio=1.0,
        group_size=GROUP,
        backup_mode=nncf.BackupMode.INT8_ASYM,
        advanced_parameters=nncf.AdvancedCompressionParameters(group_size_fallback_mode=adjust),
    )


def _quantised(nncf: ModuleType, model: Any, job: Job, exported: Path) -> Any:
    import onnx

    names = [port.get_any_name() for port in model.inputs]
    data = nncf.Dataset(
        list(job.calibration),
        lambda batch: {name: value.numpy() for name, value in matched(names, batch).items()},
    )
    graph = onnx.load(str(exported), load_external_data=False).graph
    # The fix is 7 bits of each weight; see _onnx_quantised.static.
    fix = nncf.OverflowFix.DISABLE if job.whole_int8 else nncf.OverflowFix.ENABLE
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=fix)
    return nncf.quantize(
        model,
        data,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(job.calibration),
        # This spares the scores of attention, where masked positions are minus infinity.
        model_type=nncf.ModelType.TRANSFORMER if has_attention(graph) else None,
        advanced_parameters=advanced,
        ignored_scope=nncf.IgnoredScope(names=_named(model, job.kept), validate=False),
    )


def _named(model: Any, layers: Sequence[str]) -> list[str]:
    """What OpenVINO calls nodes of an ONNX file: one may become several, one within the other."""
    whole = [layer.removesuffix("/MatMulAddFusion") for layer in layers]  # ONNX Runtime's own
    called = [operation.get_friendly_name() for operation in model.get_ops()]
    return [name for name in called if any(f"{name}/".startswith(f"{each}/") for each in whole)]


def _import_nncf() -> ModuleType:
    """Import NNCF without its telemetry: it reads this variable once, as it is imported."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        return importlib.import_module("nncf")
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before
