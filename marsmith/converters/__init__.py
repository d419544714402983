"""One file per runtime: each writes what `handlers/runtimes/<same name>.py` loads.

A converter is a module with `PRECISIONS`, what it can write; `DEFAULTS`, the precisions that
`runtime: auto` tries; and `convert(job, precision, out)`. Two converters have no runtime here: they
write for other systems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from handlers import by_name
from handlers.runtimes import Tensors
from marsmith.errors import RecipeError
from marsmith.recipe.sections import Conversion, Source

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a converter is given.

    Attributes:
        module: the model, in evaluation mode on the CPU; it takes tensors by position.
        batch: real inputs, named, in the order in which the module takes them; the first
            dimension is the batch.
        varying: axes besides the batch that differ from request to request, by input.
        outputs: the names of the outputs, in the order in which the module returns them.
        calibration: batches for static quantisation, each like `batch`; empty without any.
        source: where the module came from.
        settings: what the recipe says about conversion.
        device: where the model will run.
    """

    module: torch.nn.Module
    batch: Tensors
    varying: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    calibration: Sequence[Tensors]
    source: Source
    settings: Conversion
    device: torch.device = CPU


@dataclass(frozen=True)
class Artifact:
    """A converted model on disk.

    Attributes:
        model: the file that the runtime's `load` is given.
        files: further files that must lie beside it.
        options: what the runtime's `load` is called with, by name.
    """

    model: Path
    files: tuple[Path, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.stat().st_size for file in (self.model, *self.files))


Convert = Callable[[Job, str, Path], Artifact]


def find(name: str) -> ModuleType:
    """The converter of that name.

    Raises:
        RecipeError: there is none; the message lists those there are.
    """
    return by_name.find(__name__, name, "the converters", RecipeError)
