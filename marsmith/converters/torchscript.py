"""Scripts or traces a module, and freezes it into one `.pt` file, canonical to the byte."""

from __future__ import annotations

import copy
import re
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from handlers.runtimes import Tensors
from handlers.runtimes.eager import DTYPES
from marsmith.atomic import ensure_room
from marsmith.converters import Artifact, Job
from marsmith.converters._refusals import others, refuse_exported, refuse_onnx
from marsmith.errors import UnsupportedError, reason

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int8_dynamic")
DEFAULTS = ("fp32", "bf16", "int8", "int8_dynamic")
GPU_DEFAULTS = ("fp32", "bf16", "fp16")

ENGINE = "x86"  # of the quantised operators: oneDNN's or FBGEMM's, whichever is faster
DYNAMIC = {nn.Linear, nn.LSTM, nn.GRU}
MANY_WEIGHTS = 1_000_000
MANGLED = re.compile(rb"___torch_mangle_(\d+)")
PER_RECORD = 1024  # bytes of headers, and to align what is between them


def convert(job: Job, precision: str, out: Path) -> Artifact:
    """Lower a module's precision, script or trace it, and freeze it.

    Args:
        job: the module and what is known of it.
        precision: one of PRECISIONS.
        out: an existing folder.

    Raises:
        UnsupportedError: TorchScript can't express the module, or torch not in this precision;
            the message has its reason.
    """
    refuse_onnx(job, "TorchScript")
    refuse_exported(job, "TorchScript")  # torch.jit.trace doesn't know its operators' overloads
    options: dict[str, object] = {"inputs": list(job.batch)}
    if precision in DTYPES:
        options["dtype"] = precision
    elif precision != "fp32":
        options["engine"] = ENGINE
    elif job.device.type == "cpu" and _convolves_much(job.module):
        options["optimize"] = True
    written, canonical = out / "model.raw.pt", out / "model.pt"
    with warnings.catch_warnings():
        # Torch warns that each step is deprecated, and that a trace freezes control flow, which the
        # recipe has agreed to; what is wrong, it raises.
        warnings.simplefilter("ignore")
        module = _fastest(_lowered(job, precision), job, precision)
        # By a path, torch's own writer ends the process when the disk is full.
        with written.open("wb") as file:
            torch.jit.save(module, file)
    _canonicalise(written, canonical)
    written.unlink()
    # Its int8 takes 7 bits of each activation, on every CPU.
    made_for = job.made_for(precision) if precision in DTYPES else ()
    return Artifact(canonical, options=options, instructions=made_for)


def _convolves_much(module: torch.nn.Module) -> bool:
    """Whether convolutions have enough weights that a layout for this CPU is worth its overhead.

    Measured on two cores: ResNet-50 ran in 348 ms instead of 419, and a model of 5,000 such
    weights in 0.32 ms instead of 0.11.
    """
    kinds = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    convolutions = (each for each in module.modules() if isinstance(each, kinds))
    return sum(each.weight.numel() for each in convolutions) >= MANY_WEIGHTS


def _lowered(job: Job, precision: str) -> nn.Module:
    """The module in a precision; the job's own stays as it is."""
    lower = {"int8": _static, "int8_dynamic": _dynamic}.get(precision)
    scripted = isinstance(job.module, torch.jit.ScriptModule)
    if lower is None:
        dtype = DTYPES.get(precision)
        if dtype and scripted and not any(True for _ in job.module.parameters()):
            raise UnsupportedError(
                f"frozen TorchScript can't become {precision}: its weights are constants",
                "save it without torch.jit.freeze; it is frozen here anyway",
            )
        return copy.deepcopy(job.module).to(dtype) if dtype else job.module
    if scripted:
        raise UnsupportedError(
            f"a TorchScript file can't be quantised to {precision}",
            "keep it fp32, bf16 or fp16, or quantise the module that it was made of",
        )
    if job.device.type != "cpu":
        raise UnsupportedError(f"torch runs {precision} on CPUs only", "use bf16 or fp16 on a GPU")
    if ENGINE not in torch.backends.quantized.supported_engines:
        raise UnsupportedError(
            f"this torch has no quantised operators for {ENGINE}", "build on an x86 machine"
        )
    torch.backends.quantized.engine = ENGINE
    return lower(job)


def _static(job: Job) -> nn.Module:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    if not job.calibration:
        raise UnsupportedError(
            "static int8 takes the ranges of activations from data, and there is none",
            "name some under 'calibration:' in the recipe, or use int8_dynamic",
        )
    try:
        example = tuple(job.batch.values())
        mapping = get_default_qconfig_mapping(ENGINE)
        prepared = prepare_fx(copy.deepcopy(job.module), mapping, example)
        with torch.inference_mode():
            for batch in job.calibration:
                prepared(*batch.values())
        quantised: torch.fx.GraphModule = convert_fx(prepared)
        for node in quantised.graph.nodes:
            node.type = None  # annotations, by names that TorchScript doesn't know
        quantised.recompile()
    except Exception as error:  # symbolic tracing runs the model's own code
        raise UnsupportedError(
            f"torch.fx can't quantise this model: {reason(error)}",
            "use int8_dynamic, which needs no torch.fx, or int8 with 'runtime: onnx' or 'openvino'",
        ) from error
    return quantised


def _dynamic(job: Job) -> nn.Module:
    from torch.ao.quantization import quantize_dynamic

    if not any(type(each) in DYNAMIC for each in job.module.modules()):
        raise UnsupportedError(
            "torch's dynamic int8 is for Linear, LSTM and GRU, and this model has none",
            "use static int8 for convolutions",
        )
    quantised: nn.Module = quantize_dynamic(job.module, DYNAMIC, dtype=torch.qint8)
    return quantised


def _fastest(module: nn.Module, job: Job, precision: str) -> torch.jit.ScriptModule:
    """Freeze a module where it will run: a trace keeps the device of each tensor that it makes.

    In half precision on a GPU its images are laid out channels last.
    """
    if job.device.type == "cpu":
        return _frozen(module, job, precision)
    module = copy.deepcopy(module).to(job.device)
    job = replace(job, batch={name: each.to(job.device) for name, each in job.batch.items()})
    if precision not in DTYPES or not any(each.dim() == 4 for each in module.parameters()):
        return _frozen(module, job, precision)
    laid_out = copy.deepcopy(module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        return _frozen(laid_out, job, precision)
    except UnsupportedError:  # such as a view() of what must be contiguous
        return _frozen(module, job, precision)


def _frozen(module: nn.Module, job: Job, precision: str) -> torch.jit.ScriptModule:
    dtype = DTYPES.get(precision)
    batch = {
        name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor
        for name, tensor in job.batch.items()
    }
    scripted: torch.jit.ScriptModule
    try:
        scripted = _traced(module, batch, job) if job.source.TRACED else torch.jit.script(module)
    except UnsupportedError:
        raise
    except Exception as error:  # the compiler raises what it meets
        if not job.settings.trace:
            raise UnsupportedError(
                f"TorchScript can't express this model: {reason(error)}",
                f"try 'conversion: {{trace: true}}', or {others(job)}",
            ) from error
        scripted = _traced(module, batch, job)
    try:
        frozen = torch.jit.freeze(scripted) if hasattr(scripted, "training") else scripted
        with torch.inference_mode():
            frozen(*batch.values())
    except RuntimeError as error:
        raise UnsupportedError(
            f"TorchScript can't run this model in {precision}: {reason(error)}",
            others(job),
        ) from error
    return frozen


def _traced(module: nn.Module, batch: Tensors, job: Job) -> torch.jit.ScriptModule:
    # Checked with another size, to notice a batch size that became a constant.
    sizes = [tuple(_first(tensor, rows) for tensor in batch.values()) for rows in (2, 3)]
    try:
        with torch.inference_mode():
            traced: torch.jit.ScriptModule = torch.jit.trace(
                module, sizes[0], strict=False, check_inputs=sizes[1:]
            )
    except Exception as error:  # it runs the model's own code
        raise UnsupportedError(
            f"TorchScript can't trace this model: {reason(error)}",
            others(job),
        ) from error
    return traced


def _first(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    times = -(-rows // len(tensor))
    return torch.cat([tensor] * times)[:rows]


def _canonicalise(written: Path, out: Path) -> None:
    """Write the same program again, without traces of where and when it was made.

    Debug records have the paths of source files, and class names have a count of all classes
    that this process has ever scripted.
    """
    reader = torch._C.PyTorchFileReader(str(written))
    records = {
        name: reader.get_record(name)
        for name in reader.get_all_records()
        if not name.endswith(".debug_pkl")
        and name not in ("version", "byteorder", ".data/serialization_id")  # the writer's own
    }
    names = b"\n".join([name.encode() for name in records] + list(records.values()))
    numbers = {
        number: b"%d" % i for i, number in enumerate(sorted(set(MANGLED.findall(names)), key=int))
    }

    def renumber(data: bytes) -> bytes:
        return MANGLED.sub(lambda found: b"___torch_mangle_" + numbers[found[1]], data)

    ensure_room(out.parent, sum(len(data) + PER_RECORD for data in records.values()))
    writer = torch._C.PyTorchFileWriter(str(out))
    for name, data in records.items():
        canonical = data if name.startswith("constants/") else renumber(data)
        writer.write_record(renumber(name.encode()).decode(), canonical, len(canonical))
    writer.write_end_of_file()
