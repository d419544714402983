"""Compiles a module ahead of time, by torch.export and AOTInductor, into one `.pt2` package."""

from __future__ import annotations

import copy
import importlib
import io
import os
import re
import shutil
import tempfile
import warnings
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from handlers.runtimes.eager import DTYPES
from marsmith.atomic import ensure_room
from marsmith.converters import Artifact, Job
from marsmith.converters._exported import ByPosition, grown
from marsmith.converters._refusals import refuse_onnx, refuse_torchscript
from marsmith.errors import BuildError, UnsupportedError, reason

# Not int8: after torchao's PT2E quantisation, AOTInductor either keeps only the rounding, in
# float32, or packs the weights into numbers that the package reads back wrongly.
PRECISIONS = ("fp32", "bf16", "fp16")
DEFAULTS = ("fp32", "bf16")
GPU_DEFAULTS = PRECISIONS

# The instructions that code beside the kernels may use: those of any CPU that can run the kernels.
MARCH = {"AVX2": "x86-64-v3", "AVX512": "x86-64-v4"}
BUILD_ID = re.compile(rb"(\x04\0{3}\x14\0{3}\x03\0{3}GNU\0).{20}", re.DOTALL)
OTHERS = "try 'runtime: torchscript' or 'eager'"


def convert(job: Job, precision: str, out: Path) -> Artifact:
    """Export a module and compile it for this kind of CPU, or for the job's GPU.

    Args:
        job: the module and what is known of it.
        precision: one of PRECISIONS.
        out: an existing folder.

    Raises:
        BuildError: the compilation failed.
        UnsupportedError: torch.export can't express the module, or there is no C++ compiler.
    """
    refuse_onnx(job, "pt2")
    refuse_torchscript(job, "pt2")
    if precision not in PRECISIONS:
        raise UnsupportedError(
            f"AOTInductor runs no {precision}; it runs {', '.join(PRECISIONS)}",
            "use 'runtime: torchscript', 'onnx' or 'openvino' for it",
        )
    compiler = _compiler()
    model = out / "model.pt2"
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own parts, to each other
        written = _compile(_program(job, DTYPES.get(precision)), compiler, Path(folder))
        _canonicalise(written, model, Path(folder))
    options: dict[str, object] = {"inputs": list(job.batch), "outputs": list(job.outputs)}
    if precision in DTYPES:
        options["dtype"] = precision
    return Artifact(model, options=options, instructions=job.made_for(precision))


def _compiler() -> str:
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    for name in wanted:
        if shutil.which(name):
            return name
    raise UnsupportedError(
        f"pt2 needs a C++ compiler, and there is no {' or '.join(wanted)} here",
        "install one (Debian: apt-get install g++), or name another in $CXX",
    )


def _program(job: Job, dtype: torch.dtype | None) -> torch.export.ExportedProgram:
    module = copy.deepcopy(job.module).to(job.device, dtype)
    axes = {name: (0, *job.varying.get(name, ())) for name in job.batch}
    inputs = tuple(
        grown(tensor.to(dtype) if tensor.is_floating_point() else tensor, axes[name])
        for name, tensor in job.batch.items()
    )
    shapes = tuple(
        {axis: torch.export.Dim.DYNAMIC(min=1) for axis in axes[name]} for name in job.batch
    )
    try:
        with _open_sizes(), torch.no_grad():
            return torch.export.export(
                ByPosition(module),
                tuple(tensor.to(job.device) for tensor in inputs),
                dynamic_shapes=(shapes,),
            )
    except Exception as error:  # torch.export raises what it meets
        raise UnsupportedError(
            f"torch.export can't express this model: {reason(error)}", OTHERS
        ) from error


def _open_sizes() -> AbstractContextManager[None]:
    """Let torch conclude nothing from a dynamic axis of 2 or more: it may be 1 later."""
    symbolic = importlib.import_module("torch.fx.experimental._config")
    patched: AbstractContextManager[None] = symbolic.patch(backed_size_oblivious=True)
    return patched


def _compile(program: torch.export.ExportedProgram, compiler: str, folder: Path) -> io.BytesIO:
    import torch._inductor
    from torch._inductor import config
    from torch._inductor.cpu_vec_isa import pick_vec_isa
    from torch._inductor.utils import fresh_cache

    with fresh_cache(dir=str(folder)), config.patch({"cpp.cxx": (None, compiler)}):
        isa = str(pick_vec_isa()).upper().partition(" ")[0]
        settings = {
            "freezing": True,  # weights laid out for the kernels that read them
            "cpp.march": MARCH.get(isa),
            "cpp.dynamic_threads": True,  # as many as the worker has, not as this machine
            "aot_inductor.enable_line_tables": False,
            "aot_inductor.model_name_for_generated_files": "model",
            # Torch uses openssl to find out whether it has compiled its own headers before.
            "aot_inductor.precompile_headers": shutil.which("openssl") is not None,
        }
        known = config.get_config_copy()  # of this version of torch
        settings = {name: value for name, value in settings.items() if name in known}
        # By a path, torch's own writer ends the process when the disk is full.
        package = io.BytesIO()
        try:
            # With gradients there is no freezing.
            with _open_sizes(), torch.no_grad():
                torch._inductor.aoti_compile_and_package(
                    program, package_path=package, inductor_configs=settings
                )
        except Exception as error:  # its errors have no other base
            raise BuildError(
                f"AOTInductor can't compile this model: {reason(error)}", OTHERS
            ) from error
    package.seek(0)
    return package


def _canonicalise(written: io.BytesIO, out: Path, folder: Path) -> None:
    """Write the same package again, without traces of where and when it was made.

    The C++ sources are emptied. Paths that failing checks would name are blanked in the machine
    code, and so is the linker's build id, a hash of them.
    """
    ensure_room(out.parent, len(written.getbuffer()))
    reader = torch._C.PyTorchFileReader(written)
    writer = torch._C.PyTorchFileWriter(str(out))
    for name in reader.get_all_records():
        if name in ("version", "byteorder", ".data/serialization_id"):
            continue  # the writer's own
        # By the name of a source, torch before 2.13 finds what is said of the machine.
        data = b"" if name.endswith(".cpp") else reader.get_record(name)
        if name.endswith(".so"):
            for place in (folder, Path(torch.__file__).parent):
                data = re.sub(re.escape(bytes(place)) + rb"[^\0]*", _blank, data)
            data = BUILD_ID.sub(lambda found: found[1] + bytes(20), data)
        writer.write_record(name, data, len(data))
    writer.write_end_of_file()


def _blank(found: re.Match[bytes]) -> bytes:
    return found[0].rpartition(b"/")[2].rjust(len(found[0]), b"/")
