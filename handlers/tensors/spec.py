"""What a recipe says of a model's tensors: their types, shapes and values by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from handlers.errors import BadRequest, LoadError
from handlers.protocols import base64_text, tensors
from handlers.schema import Json, JsonObject, SchemaError, object_schema, parse, setting

Array = NDArray[np.generic]
S = TypeVar("S", bound="OutputSpec | InputSpec")


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """An output of the model, for one instance: without the batch."""

    datatype: str = setting("FP32", "As the Open Inference Protocol calls it.")
    shape: tuple[int | str, ...] | None = setting(
        None, "Sizes, or names of those that vary; not known by default."
    )


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """An input of the model, for one instance: without the batch."""

    datatype: str = setting("FP32", "As the Open Inference Protocol calls it.")
    shape: tuple[int | str, ...] = setting(
        (), "Sizes, or names of those that vary; equal names are equal sizes."
    )
    default: object = setting(
        None, "Its value where a request has none: a number for all, or nested lists."
    )
    from_output: str | None = setting(
        None, "State: the output that becomes this input in a sequence's next request."
    )
    context: int = setting(
        0, "How many items of a sequence's last request, along the last axis, come before.",
        minimum=0,
    )  # fmt: skip

    @property
    def optional(self) -> bool:
        """Whether a request may leave it out."""
        return self.default is not None or self.from_output is not None

    def initial(self, sizes: Mapping[str, int]) -> Array:
        """Its value where a request has none; sizes that nobody has named are 1."""
        shape = [size if isinstance(size, int) else sizes.get(size, 1) for size in self.shape]
        value = np.asarray(0 if self.default is None else self.default)
        return np.array(np.broadcast_to(value, shape)).astype(tensors.DATATYPES[self.datatype])

    def fitted(self, name: str, value: object, sizes: dict[str, int]) -> Array:
        """Convert a value to the input's type, and check its shape.

        Args:
            name: the input's, for messages.
            value: an array, a number, or nested lists.
            sizes: of the names in shapes; those that are new here are added.

        Raises:
            BadRequest: it has another shape, or numbers that the type can't hold.
        """
        where = f"input {name[:80]!a}"
        array: Array = value if isinstance(value, np.ndarray) else _array(value, where)
        if array.dtype.kind not in "iufb":
            raise BadRequest(f"{where} must hold numbers, not {array.dtype}"[:200], status=422)
        self._check_shape(where, array.shape, sizes)
        wanted = np.dtype(tensors.DATATYPES[self.datatype])
        if array.dtype == wanted:
            return array
        with np.errstate(all="ignore"):
            cast: Array = array.astype(wanted)
        if wanted.kind in "iub" and not np.array_equal(cast, array):
            raise BadRequest(f"{where} has numbers that {self.datatype} can't hold", status=422)
        return cast

    def _check_shape(self, where: str, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
        fits = len(shape) == len(self.shape)
        for size, wanted in zip(shape, self.shape, strict=False):
            known = wanted if isinstance(wanted, int) else sizes.setdefault(wanted, size)
            fits = fits and size == known
        if not fits:
            named = {n: s for n, s in sizes.items() if n in self.shape}
            told = f", where {', '.join(f'{n} is {s}' for n, s in named.items())}" if named else ""
            raise BadRequest(
                f"{where} must be {shown(self.shape)} without the batch{told}, not {shown(shape)}",
                hint="many at once: send 'instances', or tensors of the Open Inference Protocol",
                status=422,
            )


def input_schema(inputs: Mapping[str, InputSpec]) -> JsonObject:
    """The JSON Schema of an instance: inputs by name, or all as an `.npz` in base64.

    Each input is nested lists, or an `.npy` in base64.
    """
    kinds: dict[str, JsonObject] = {
        name: {"anyOf": [schema(each), base64_text.ENCODED]} for name, each in inputs.items()
    }
    optional = {name: kinds.pop(name) for name, each in inputs.items() if each.optional}
    return {"anyOf": [object_schema(kinds, optional), base64_text.ENCODED]}


def read(section: Mapping[str, object]) -> dict[str, InputSpec]:
    """Read the specifications of inputs, by name.

    Raises:
        LoadError: one has something in it that isn't allowed.
    """
    found = {}
    for name, said in section.items():
        spec = _parsed(InputSpec, said, f"handler.inputs.{name}")
        try:
            spec.initial({})
        except (ValueError, TypeError, OverflowError):
            raise LoadError(f"handler.inputs.{name}: its default doesn't fit its shape") from None
        if spec.context and (spec.from_output or not spec.shape):
            raise LoadError(
                f"handler.inputs.{name}: 'context' is for inputs that requests give, with an axis"
            )
        found[name] = spec
    return found


def read_outputs(section: Mapping[str, object]) -> dict[str, OutputSpec]:
    """Read the specifications of outputs, by name.

    Raises:
        LoadError: one has something in it that isn't allowed.
    """
    return {n: _parsed(OutputSpec, said, f"handler.outputs.{n}") for n, said in section.items()}


def _parsed(kind: type[S], said: object, where: str) -> S:
    try:
        spec = parse(kind, {} if said is None else said, where=where)
    except SchemaError as error:
        raise LoadError(str(error)) from None
    if spec.datatype not in tensors.DATATYPES:
        allowed = ", ".join(tensors.DATATYPES)
        raise LoadError(f"{where}: 'datatype' must be one of {allowed}, not {spec.datatype!r}")
    return spec


def _array(value: object, where: str) -> Array:
    if isinstance(value, (bool, int, float)):
        value = [value]
        return tensors.to_array(value, where)[0, ...]
    return tensors.to_array(value, where)


def shown(shape: tuple[int | str, ...]) -> str:
    """A shape for people: (2, frames)."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"[:200]


def schema(spec: OutputSpec | InputSpec) -> JsonObject:
    """The JSON Schema of a tensor of one instance: a number, or nested lists."""
    kind = np.dtype(tensors.DATATYPES[spec.datatype]).kind
    item: Json = {"type": {"b": "boolean", "f": "number"}.get(kind, "integer")}
    if spec.shape is None:
        return {}
    for size in reversed(spec.shape):
        fixed = {"minItems": size, "maxItems": size} if isinstance(size, int) else {}
        item = {"type": "array", "items": item, **fixed}
    return item  # type: ignore[return-value]  # it is an object
