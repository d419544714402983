"""A module as it is: its weights as safetensors, its code as the file that defines it."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from safetensors.torch import save_model

from marsmith.converters import Artifact, Job
from marsmith.errors import BuildError
from marsmith.sources import factory as factory_source

PRECISIONS = ("fp32",)
DEFAULTS = ("fp32",)


def convert(job: Job, out: Path) -> Artifact:
    """Save a module's weights, and the file of its factory.

    Args:
        job: the module and what is known of it; its source is a factory.
        out: an existing folder.

    Raises:
        BuildError: the source has no factory, or its module is not a file.
    """
    if not isinstance(job.source, factory_source.Source):
        raise BuildError("eager needs a source with a factory, whose code goes into the archive")
    factory, _, function = job.source.factory.partition(":")
    source = inspect.getsourcefile(importlib.import_module(factory))
    if source is None:
        raise BuildError(f"the module {factory!r} is not a Python file")
    # The model file gets a name of its own: the factory's package isn't in the archive.
    code = out / f"model_{factory.rpartition('.')[2]}.py"
    code.write_bytes(Path(source).read_bytes())
    weights = out / "model.safetensors"
    save_model(job.module, str(weights))
    options = {"factory": f"{code.stem}:{function}", "arguments": job.source.arguments}
    return Artifact(weights, (code,), options)
