"""Tensors of the Open Inference Protocol v2 in JSON: numbers in, columns of answers out."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from handlers.errors import BadRequest
from handlers.protocols import binary_tensors
from handlers.schema import JsonObject, kind
from handlers.task import Answer

DATATYPES: dict[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
Array = NDArray[np.generic]
MAX_DIMENSIONS = 16  # of a v2 tensor; numpy's own limit is 64
MAX_SIZE = 2**31 - 1  # of one dimension
COUNTS = "counts"
COLUMN_TYPES: dict[object, str] = {bool: "BOOL", int: "INT64", float: "FP32", str: "BYTES"}
ARRAY_TYPES = {np.dtype(kind): name for name, kind in DATATYPES.items()}


@dataclasses.dataclass(frozen=True)
class Column:
    """An output of a v2 answer.

    Attributes:
        name: of the output.
        shape: its first dimension is the batch, or counts the items of all answers.
        datatype: of its items.
        values: the items, row by row: an array of that shape, or a flat list.
    """

    name: str
    shape: list[int]
    datatype: str
    values: Array | list[object]

    def to_json(self) -> JsonObject:
        """The output with its items in it.

        Raises:
            ValueError: there is a NaN or an infinity in an array.
        """
        values: object = self.values
        if isinstance(values, np.ndarray):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ValueError(f"{self.name} is not finite")
            values = values.ravel().tolist()
        return {
            "name": self.name,
            "shape": self.shape,
            "datatype": self.datatype,
            "data": values,  # type: ignore[dict-item]  # its items are plain
        }

    def to_bytes(self) -> bytes:
        """The items alone; see `binary_tensors`."""
        if self.datatype == "BYTES":
            return binary_tensors.joined([str(each).encode() for each in self.values])
        return np.asarray(self.values, np.dtype(DATATYPES[self.datatype])).tobytes()


def read(name: str, entry: Mapping[str, object]) -> Array | list[str | bytes]:
    """Read one entry of a request's `inputs`.

    Args:
        name: the input's name.
        entry: all of the entry.

    Returns:
        A numpy array of its shape; for BYTES a list of strings, or of bytes if they came as such.

    Raises:
        BadRequest: its shape, datatype or data is wrong; 422 for numbers that don't fit.
    """
    name, shape, datatype = ascii(name[:40]), entry.get("shape"), entry.get("datatype")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= MAX_DIMENSIONS
        or not all(type(size) is int and 1 <= size <= MAX_SIZE for size in shape)
    ):
        raise BadRequest(
            f"input {name}: 'shape' must be a list of positive integers, the batch first, "
            f"at most {MAX_DIMENSIONS} of them"
        )
    if not isinstance(datatype, str) or datatype not in (*DATATYPES, "BYTES"):
        allowed = ", ".join([*DATATYPES, "BYTES"])
        raise BadRequest(f"input {name}: 'datatype' must be one of {allowed}")
    if "data" not in entry:
        raise BadRequest(f"input {name} has no 'data'")
    data, where = entry["data"], f"input {name}"
    if datatype == "BYTES":
        strings = binary_tensors.strings(data, where) if isinstance(data, bytes) else data
        if (
            not isinstance(strings, list)
            or [len(strings)] != shape
            or not all(isinstance(string, (str, bytes)) for string in strings)
        ):
            raise BadRequest(f"{where}: BYTES must be a flat list of shape[0] strings")
        return strings
    if isinstance(data, bytes):
        return binary_tensors.numbers(data, shape, DATATYPES[datatype], where)
    array = to_array(data, where)
    if array.size != math.prod(shape):
        raise BadRequest(f"input {name}: 'data' has {array.size} numbers, not as many as its shape")
    with np.errstate(all="ignore"):
        cast = array.astype(DATATYPES[datatype])
    if datatype.startswith(("INT", "UINT", "BOOL")) and not np.array_equal(cast, array):
        raise BadRequest(f"input {name}: 'data' has numbers that {datatype} can't hold", status=422)
    return cast.reshape(shape)


def to_array(data: object, where: str) -> Array:
    """Convert nested lists of numbers to an array.

    Raises:
        BadRequest: it is ragged or too deep, or something in it is not a number.
    """
    if not isinstance(data, list):
        raise BadRequest(f"{where} must be a list of numbers, not {kind(data)}")
    # Checked first, because numpy would give every number as much room as the longest string.
    lists = [data]
    while lists:
        items = lists.pop()
        kinds = set(map(type, items))
        if not kinds <= {list, int, float, bool}:
            raise BadRequest(f"{where} has something in it that is not a number")
        if list in kinds:
            lists += (item for item in items if type(item) is list)
    try:
        array = np.asarray(data)
    except ValueError:
        raise BadRequest(f"{where} is ragged: its lists differ in length or depth") from None
    if array.dtype.kind not in "iufb":
        raise BadRequest(f"{where} has an integer in it that needs more than 64 bits")
    return array


def names(kind: type[Answer]) -> list[str]:
    """The names of a v2 answer's outputs, for answers of a kind."""
    return [*kind.field_schemas(), *[COUNTS] * bool(kind.ragged)]


def columns(answers: Sequence[Answer]) -> list[Column]:
    """Convert answers to `outputs`: one for each of their parts, and `counts`; see `names`.

    A ragged part is (items of all answers, ...), a rectangular one (answers, ...). Any other
    is JSON, in BYTES.

    Raises:
        ValueError: there is a NaN or an infinity in what is sent as JSON.
    """
    kind, parts = type(answers[0]), [answer.parts() for answer in answers]
    outputs: list[Column] = []
    for name in parts[0]:
        values = [each[name] for each in parts]
        if isinstance(values[0], np.ndarray):
            outputs.append(_of_arrays(name, values))
            continue
        if name in kind.ragged:
            values = [item for value in values for item in value]  # type: ignore[attr-defined]
            shape = [len(values), *kind.ragged[name]]
            datatype: str | None = _item_type(kind, name)  # type: ignore[arg-type]  # a class is hashable
        else:
            shape, datatype = _rectangle(values)
        if datatype is None:
            shape, datatype = [len(values)], "BYTES"
            values = [json.dumps(value, allow_nan=False) for value in values]
        for _ in shape[1:]:
            values = [item for value in values for item in value]  # type: ignore[attr-defined]
        outputs.append(Column(name, shape, datatype, values))
    if kind.ragged:
        first = next(iter(kind.ragged))
        counts: list[object] = [len(each[first]) for each in parts]  # type: ignore[arg-type]
        outputs.append(Column(COUNTS, [len(counts)], "INT64", counts))
    return outputs


def _of_arrays(name: str, arrays: Sequence[Any]) -> Column:
    if len({(array.shape, array.dtype) for array in arrays}) == 1:
        whole = np.stack(arrays)
        return Column(name, [*whole.shape], ARRAY_TYPES[whole.dtype], whole)
    lists: list[object] = [json.dumps(array.tolist(), allow_nan=False) for array in arrays]
    return Column(name, [len(lists)], "BYTES", lists)


@functools.cache
def _item_type(kind: type[Answer], field: str) -> str:
    """The datatype of the items of a field's lists, by its type: there may be no item."""
    hint = get_type_hints(kind)[field]
    while get_origin(hint) is list:
        (hint,) = get_args(hint)
    return COLUMN_TYPES[hint]


def _rectangle(values: list[object]) -> tuple[list[int], str | None]:
    """The shape and datatype of nested lists; no datatype when they are ragged or mixed."""
    shape, level = [len(values)], values
    while level and isinstance(level[0], (list, tuple)):
        shape.append(len(level[0]))
        rows = [row for row in level if isinstance(row, (list, tuple)) and len(row) == shape[-1]]
        if len(rows) != len(level):
            return shape, None
        level = [item for row in rows for item in row]
    kinds = {type(value) for value in level}
    return shape, COLUMN_TYPES.get(kinds.pop()) if len(kinds) == 1 else None
