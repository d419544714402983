"""An ONNX file, from wherever it was exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from handlers.errors import LoadError
from handlers.runtimes import Tensors
from handlers.runtimes.onnx import DTYPES, load
from marsmith.cache import Cache, code_of, key_of
from marsmith.errors import BuildError, reason
from marsmith.extras import need
from marsmith.recipe.sections import Source, Untouched
from marsmith.sources import _adapted, _named

CPU = torch.device("cpu")


class OnnxModule(torch.nn.Module):
    """An ONNX file as a module: it takes tensors by position and returns them by the file's names.

    It has no parameters, and no gradients flow through it.

    Args:
        path: a checked ONNX file.

    Attributes:
        path: as given.
        inputs: the names of its inputs, in the file's order.

    Raises:
        LoadError: ONNX Runtime is missing, or can't load the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.inputs = path, _inputs(path)
        self._run = load(path, CPU)

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        """Run the file, and return the named outputs."""
        return self._run(dict(zip(self.inputs, inputs, strict=True)))


class OnnxFile(Source):
    """`onnx` is the file. It can be converted further, but not pruned or trained."""

    RUNTIME: ClassVar[str] = "onnx"

    onnx: Path
    """The file; other files that it keeps weights in must lie beside it."""
    constants: dict[str, object] = {}
    """Values of inputs that nobody is to give, by name: a sample rate, say."""
    batch_axes: dict[str, int] = {}
    """Where tensors have the batch that don't have it first, by name: 1 of a recurrent state."""

    def load(self, cache: Cache, say: Callable[[str], None]) -> torch.nn.Module:
        """Check the file and make a module of it.

        Args:
            cache: keeps the file as the section's other settings change it.
            say: takes one line about what is being done.

        Raises:
            BuildError: there is no such file, it is damaged, its inputs or outputs aren't
                tensors of numbers, or the settings don't fit it.
            UnsupportedError: ONNX or ONNX Runtime is not installed.
        """
        need("onnx", "onnx", "onnxruntime")
        if not self.onnx.is_file():
            raise BuildError(f"there is no ONNX file {self.onnx}")
        say(f"load {self.onnx.name}")
        check(self.onnx)
        try:
            return OnnxModule(self._adapted(cache)).eval()
        except LoadError as error:
            raise BuildError(str(error)) from error

    def _adapted(self, cache: Cache) -> Path:
        if not self.constants and not self.batch_axes:
            return self.onnx
        key = f"adapted-{key_of(self.files(), repr(self), code_of(_adapted.__name__))}"
        if (kept := cache.find(key)) is None:
            with cache.keep(key) as unfinished:
                out = unfinished / self.onnx.name
                _adapted.write(self.onnx, out, self.constants, self.batch_axes)
            kept = cache.find(key)
        return (kept or Path()) / self.onnx.name

    def untouched(
        self, instances: Sequence[object], handler: Mapping[str, object], say: Callable[[str], None]
    ) -> Untouched | None:
        """What ONNX Runtime makes of instances that are named tensors, with the file as it is."""
        return _named.of_onnx(self.onnx, self.constants, self.batch_axes, instances, handler)

    def files(self) -> list[Path]:
        """The file, and the files beside it that hold its weights."""
        import onnx
        from onnx.external_data_helper import ExternalDataInfo, uses_external_data

        weights = onnx.load(str(self.onnx), load_external_data=False).graph.initializer
        beside = {ExternalDataInfo(each).location for each in filter(uses_external_data, weights)}
        return [self.onnx, *(self.onnx.parent / name for name in sorted(beside))]


def check(path: Path) -> None:
    """Check that a file is valid ONNX whose inputs and outputs are tensors of numbers.

    Raises:
        BuildError: it isn't; the message names the file and the first reason.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path))
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # protobuf's and ONNX's own have no other base
        raise BuildError(f"{path.name} is not a valid ONNX file: {reason(error)}") from error
    for value in (*graph.input, *graph.output):
        kind = onnx.helper.printable_type(value.type)
        number = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        if not value.type.HasField("tensor_type") or f"tensor({number})" not in DTYPES:
            raise BuildError(f"{path.name}: {value.name!r} is {kind}, not a tensor of numbers")


def _inputs(path: Path) -> list[str]:
    return [each.name for each in declared(path)]


def shapes(path: Path) -> list[list[int | None]]:
    """The shape of each input, in the file's order; None for a size that varies.

    Raises:
        BuildError: the file can't be read.
    """
    need("onnx", "onnx")
    try:
        found = declared(path)
    except Exception as error:  # what is wrong in the file decides which
        raise BuildError(f"{path.name} is not an ONNX file: {reason(error)}") from error
    dimensions = [each.type.tensor_type.shape.dim for each in found]
    return [
        [size.dim_value if size.HasField("dim_value") else None for size in each]
        for each in dimensions
    ]


def declared(path: Path) -> list[Any]:
    """The inputs that a file declares, in its order, without its weights."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    weights = {each.name for each in graph.initializer}  # old files list them as inputs, too
    return [each for each in graph.input if each.name not in weights]
