"""One file per runtime: each writes what `handlers/runtimes/<same name>.py` loads.

A converter is a module with `PRECISIONS`, what it can write; `DEFAULTS`, the precisions that
`runtime: auto` tries on a CPU; `GPU_DEFAULTS`, those on a GPU, if its engine runs there; and
`convert(job, precision, out)`. One that can leave some layers of an int8 model in float32 has
`harms(job)`, which measures each layer. Two converters have no runtime here: they write for other
systems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from handlers import by_name, cpu
from handlers.runtimes import Tensors
from marsmith.errors import RecipeError
from marsmith.recipe.sections import Conversion, Source
from marsmith.report.measurements import LayerHarm

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
        instructions: what the CPU has, of those that `handlers.cpu` knows.
        kept: the names of layers that int8 leaves in float32, as `harms` calls them.
    """

    module: torch.nn.Module
    batch: Tensors
    varying: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    calibration: Sequence[Tensors]
    source: Source
    settings: Conversion
    device: torch.device = CPU
    instructions: frozenset[str] = field(default_factory=cpu.instructions)
    kept: tuple[str, ...] = ()

    @property
    def whole_int8(self) -> bool:
        """Whether weights may have all 8 bits, or 7, whose products no CPU's sums overflow."""
        return "vnni" in self.instructions and not self.settings.portable

    def made_for(self, precision: str) -> tuple[str, ...]:
        """The instructions without which a CPU computes otherwise in a precision than this one."""
        if precision in ("int8", "int8_dynamic"):
            return ("vnni",) if self.whole_int8 else ()
        return ("bf16",) if precision == "bf16" and self.device.type == "cpu" else ()


@dataclass(frozen=True)
class Artifact:
    """A converted model on disk.

    Attributes:
        model: the file that the runtime's `load` is given.
        files: further files that must lie beside it.
        options: what the runtime's `load` is called with, by name.
        instructions: those of `handlers.cpu` that a CPU must have to compute as this one does.
    """

    model: Path
    files: tuple[Path, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    instructions: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.stat().st_size for file in (self.model, *self.files))


Convert = Callable[[Job, str, Path], Artifact]
Harms = Callable[[Job], Iterator[LayerHarm]]


def find(name: str) -> ModuleType:
    """The converter of that name.

    Raises:
        RecipeError: there is none; the message lists those there are.
    """
    return by_name.find(__name__, name, "the converters", RecipeError)
