"""Binary tensors of the Open Inference Protocol v2: bytes behind the JSON, not within it.

See: the binary tensor data extension,
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
and https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from handlers.errors import BadRequest
from handlers.protocols import json_text

HEADER = "inference-header-content-length"
LENGTH = struct.Struct("<I")  # before each of an input's BYTES


def join(body: object, json_length: str, limits: json_text.JsonLimits = json_text.USUAL) -> object:
    """Read the JSON of a body, and put the bytes of each binary input into its `data`.

    Args:
        body: JSON, then the inputs' bytes, in their order.
        json_length: how many bytes the JSON has, from the HTTP header.
        limits: how much JSON there may be.

    Raises:
        BadRequest: the lengths don't fit, or the JSON is wrong.
    """
    if not isinstance(body, (bytes, bytearray)) or not json_length.isascii():
        raise BadRequest(f"the header {HEADER} is for a body of JSON and binary tensors")
    length = int(json_length) if json_length.isdigit() and len(json_length) < 20 else 0
    if not 0 < length <= len(body):
        raise BadRequest(f"{HEADER} must be 1 to {len(body)}, the length of the JSON in the body")
    try:
        value = json_text.parse(bytes(body[:length]), limits)
    except ValueError:
        raise BadRequest(f"the first {length} bytes of the body are not valid JSON") from None
    inputs = value.get("inputs") if isinstance(value, dict) else None
    start = length
    for entry in inputs if isinstance(inputs, list) else []:
        parameters = entry.get("parameters") if isinstance(entry, dict) else None
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(body) - start:
            left = len(body) - start
            raise BadRequest(f"'binary_data_size' must be at most {left}, which is what is left")
        entry["data"] = bytes(body[start : start + size])
        start += size
    if start != len(body):
        raise BadRequest(f"{len(body) - start} bytes of the body belong to no input")
    return value


def numbers(
    data: bytes, shape: list[int], kind: type[np.generic], where: str
) -> NDArray[np.generic]:
    """Read a numeric array from its bytes, little-endian, row by row.

    Args:
        data: the bytes.
        shape: the array's shape.
        kind: numpy's type of the numbers; booleans have a byte each.
        where: the array's name, for messages.

    Raises:
        BadRequest: there are not as many bytes as the shape needs.
    """
    dtype = np.dtype(kind).newbyteorder("<")
    if len(data) != dtype.itemsize * math.prod(shape):
        raise BadRequest(f"{where}: {len(data)} bytes do not fit its shape and datatype")
    stored = np.dtype(np.uint8) if kind is np.bool_ else dtype  # any byte but 0 is true
    return np.frombuffer(data, stored).astype(kind).reshape(shape)


def strings(data: bytes, where: str) -> list[bytes]:
    """Read an input of BYTES: each item is its length, in four bytes, and its content.

    Raises:
        BadRequest: the lengths don't fit.
    """
    found, start = [], 0
    while start < len(data):
        end = start + LENGTH.size
        end += LENGTH.unpack_from(data, start)[0] if end <= len(data) else 0
        if end > len(data):
            raise BadRequest(f"{where}: the lengths before its BYTES don't fit")
        found.append(data[start + LENGTH.size : end])
        start = end
    return found


def joined(items: Iterable[bytes]) -> bytes:
    """An output of BYTES: each item is its length, in four bytes, and its content."""
    return b"".join(LENGTH.pack(len(item)) + item for item in items)
