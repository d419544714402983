"""Read requests of the Open Inference Protocol v2: tensors by name, and the outputs wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from handlers.errors import BadRequest
from handlers.protocols import tensors
from handlers.protocols.parsed_request import ParsedRequest, parameters
from handlers.schema import kind

BINARY_OUTPUT = "binary_data_output"


def read(
    inputs: Sequence[object], body: Mapping[str, object], parts: Sequence[str], most: int
) -> ParsedRequest:
    """Read a request.

    Args:
        inputs: the body's, as they came.
        body: all of it.
        parts: of these names are the parts of an instance.
        most: how many inputs there may be, and how many outputs may be named.

    Raises:
        BadRequest: something in it is wrong.
    """
    _check_count(inputs, "inputs", most)
    if not inputs:
        raise BadRequest("'inputs' is empty", hint="send at least one tensor")
    arrays: dict[str, tensors.Array | list[str | bytes]] = {}
    for entry in inputs:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise BadRequest("every input must be an object with name, shape, datatype, data")
        if entry["name"] in arrays:
            raise BadRequest(f"two inputs are named {entry['name'][:40]!a}")
        arrays[entry["name"]] = tensors.read(entry["name"], entry)
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) != 1:
        raise BadRequest("'inputs' must share a first dimension, the batch")
    identity = body.get("id")
    if identity is not None and not isinstance(identity, str):
        raise BadRequest(f"'id' must be a string, not {kind(identity)}")
    if len(arrays) == 1 and not arrays.keys() & set(parts):
        instances: list[object] = list(next(iter(arrays.values())))
    else:
        rows = zip(*arrays.values(), strict=True)
        instances = [dict(zip(arrays, row, strict=True)) for row in rows]
    options = dict(parameters(body))
    binary = _flag(options.pop(BINARY_OUTPUT, False), BINARY_OUTPUT)
    wanted = _read_wanted(body.get("outputs"), binary, most)
    return ParsedRequest("v2", instances, options, False, identity, wanted, binary)


def _check_count(entries: object, name: str, most: int) -> None:
    if isinstance(entries, list) and len(entries) > most:
        raise BadRequest(
            f"{len(entries)} {name!r} in one request; at most {most} are allowed",
            hint="send fewer, larger tensors; the setting is 'max_inputs'",
            status=413,
        )


def _read_wanted(outputs: object, binary: bool, most: int) -> Mapping[str, bool] | None:
    """The outputs that a request names, and whether each is wanted as bytes."""
    if outputs is None:
        return None
    _check_count(outputs, "outputs", most)
    wanted: dict[str, bool] = {}
    for entry in outputs if isinstance(outputs, list) else [None]:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise BadRequest("'outputs' must be a list of objects, each with the name of an output")
        said = parameters(entry)
        if said.get("classification"):
            raise BadRequest("an output's 'classification' is not offered; leave it out")
        wanted[entry["name"]] = _flag(said.get("binary_data", binary), "binary_data")
    return wanted or None


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise BadRequest(f"{name!r} must be true or false, not {kind(value)}")
    return value
