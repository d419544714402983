"""A scripted, frozen module in one `.pt` file, canonical to the byte."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from marsmith.converters import Artifact, Job
from marsmith.errors import BuildError

PRECISIONS = ("fp32",)
DEFAULTS = ("fp32",)

MANGLED = re.compile(rb"___torch_mangle_(\d+)")


def convert(job: Job, out: Path) -> Artifact:
    """Script and freeze a module.

    Args:
        job: the module and what is known of it.
        out: an existing folder.

    Raises:
        BuildError: TorchScript can't express the module; the message has its reason.
    """
    try:
        scripted = torch.jit.freeze(torch.jit.script(job.module))
        with torch.inference_mode():
            scripted(*job.batch.values())
    except (RuntimeError, OSError, TypeError, AttributeError, ValueError) as error:
        raise BuildError(
            f"TorchScript can't express this model: {error}", "'runtime: eager' takes any module"
        ) from error
    written, canonical = out / "model.raw.pt", out / "model.pt"
    torch.jit.save(scripted, str(written))
    _canonicalise(written, canonical)
    written.unlink()
    return Artifact(canonical)


def _canonicalise(written: Path, out: Path) -> None:
    """Write the same program again, with nothing in it of the place and moment it was made.

    Debug records carry the paths of source files, and class names a count of all classes that
    this process has ever scripted.
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

    writer = torch._C.PyTorchFileWriter(str(out))
    for name, data in records.items():
        canonical = data if name.startswith("constants/") else renumber(data)
        writer.write_record(renumber(name.encode()).decode(), canonical, len(canonical))
    writer.write_end_of_file()
