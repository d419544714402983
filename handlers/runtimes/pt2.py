"""An AOTInductor package: the model as machine code, in one `.pt2` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from handlers.errors import LoadError
from handlers.runtimes import Runtime, Tensors
from handlers.runtimes.eager import ModuleRuntime, dtype_of, named

# What a package says it was compiled for, and torch's names for these capabilities of a CPU.
CAPABILITIES = {
    "AVX2": "avx2",
    "AVX512": "avx512_f",
    "AVX512_VNNI": "avx512_vnni",
    "AMX_TILE": "amx_tile",
}


def load(
    path: Path,
    device: torch.device,
    *,
    outputs: list[str],
    inputs: list[str] | None = None,
    dtype: str | None = None,
) -> Runtime:
    """Load a compiled package; that needs no compiler.

    Args:
        path: what `torch._inductor.aoti_compile_and_package` wrote.
        device: where it was compiled to run.
        outputs: the names of what it returns, in that order.
        inputs: the names of what it takes, in that order; see `eager.ModuleRuntime`.
        dtype: the type it computes in, one of eager's DTYPES; float32 by default.

    Raises:
        LoadError: not such a package, or one that was compiled for another kind of machine.
    """
    import torch._inductor
    from torch._inductor import config

    cast = dtype_of(dtype)
    loader: Any = torch._C._aoti.AOTIModelPackageLoader
    try:
        metadata = loader.load_metadata_from_package(str(path), "model")
        _expect_for_this_machine(path, metadata, device)
        # Otherwise torch compiles a program to learn what this CPU can do.
        with config.patch({"cpp.vec_isa_ok": True}):
            index = device.index if device.index is not None else -1
            package = torch._inductor.aoti_load_package(str(path), device_index=index)
    except LoadError:
        raise
    except Exception as error:  # of the package's own code, too
        raise LoadError(
            f"{path.name} can't be loaded as an AOTInductor package: {error}"
        ) from error

    def call(*inputs: torch.Tensor) -> Tensors:
        returned = named(package(*inputs)).values()
        return dict(zip(outputs, returned, strict=True))

    return ModuleRuntime(call, device, cast, inputs=inputs)


def _expect_for_this_machine(path: Path, metadata: dict[str, str], device: torch.device) -> None:
    """Check that the code in a package is for this device and CPU, before any of it runs."""
    kind = metadata.get("AOTI_DEVICE_KEY", device.type)
    if kind != device.type:
        raise LoadError(
            f"{path.name} was compiled for {kind} and runs on {device.type} here",
            hint=f"build it for {device.type}",
        )
    if device.type == "cuda":
        has = "".join(map(str, torch.cuda.get_device_capability(device)))
        wanted = metadata.get("AOTI_COMPUTE_CAPABILITY", has)
        if wanted != has:
            raise LoadError(
                f"{path.name} was compiled for GPUs of compute capability {wanted}; this one has"
                f" {has}",
                hint="build it on a GPU like this one, or with another runtime",
            )
    here = torch.cpu.get_capabilities()
    compiled = metadata.get("AOTI_CPU_ISA", "").split()
    lacking = [isa for isa in compiled if not here.get(CAPABILITIES.get(isa, ""), True)]
    if lacking:
        raise LoadError(
            f"{path.name} was compiled for another machine: this CPU has no {', '.join(lacking)}",
            hint="build it on a machine like this one, or with another runtime",
        )
