"""Read a request row's instances, and write answers in the protocol of the request.

Three protocols, told apart by the shape of the body, however they are mixed in one batch:

- raw: the body (or the form's one file, or a field `data` or `body`) is the instance, or a JSON
  object with `data` and optional `parameters`; the answer is the instance's answer, bare.
- v1, KServe's: `{"instances": [...], "parameters": {...}}` -> `{"predictions": [...]}`.
- v2, the Open Inference Protocol: `{"inputs": [{"name", "shape", "datatype", "data"}]}` ->
  `{"model_name", "model_version", "id", "outputs": [...]}`; the bytes of tensors may come behind
  the JSON, both ways.

See: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol and
https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Literal

from handlers.errors import BadRequest, ModelError
from handlers.protocols import binary_tensors, tensors
from handlers.schema import JsonObject, kind, unknown
from handlers.task import Answer

Protocol = Literal["raw", "v1", "v2"]

JSON = "application/json"
BODY_FIELDS = ("body", "data")
BINARY_OUTPUT = "binary_data_output"


@dataclasses.dataclass(frozen=True)
class ParsedRequest:
    """One row, read but not yet decoded.

    Attributes:
        protocol: how the answer is to be written.
        instances: what to decode, one value each: bytes, plain JSON data, a numpy array (v2), or
            a mapping from input names to arrays (v2 with several inputs).
        options: as the client gave them, not yet validated.
        textual: the options are strings, as form fields are.
        identity: a v2 request's `id`, to be given back.
        outputs: those that a v2 request wants, by name, and whether as bytes; None for all.
        binary: whether a v2 request wants the others as bytes, behind the JSON.
    """

    protocol: Protocol | Literal["openai"]
    instances: Sequence[object]
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    textual: bool = False
    identity: str | None = None
    outputs: Mapping[str, bool] | None = None
    binary: bool = False


@dataclasses.dataclass(frozen=True)
class AnswerBytes:
    """An answer as it is sent.

    Attributes:
        body: all of it.
        json_length: the length of the JSON before the bytes of tensors; None if there are none.
    """

    body: bytes
    json_length: int | None = None


def read(
    row: Mapping[str, object],
    content_types: Mapping[str, str],
    option_names: Sequence[str],
    json_length: str | None = None,
    parts: Sequence[str] = (),
) -> ParsedRequest:
    """Read one row of a batch as TorchServe hands it over.

    Args:
        row: parameter names to values: bytes, text, or JSON that TorchServe has parsed.
        content_types: parameter names to the media types that came with them, if any.
        option_names: form fields of these names are options, not the instance.
        json_length: the length of the JSON in a body that has binary tensors behind it; see
            `binary_tensors`.
        parts: form fields of these names make up the instance, an object.

    Raises:
        BadRequest: there is no instance, it is unclear which field it is, or the JSON is wrong.
    """
    given = {
        name: bytes(value) if isinstance(value, bytearray) else value
        for name, value in row.items()
        if name in parts
    }
    if given and all(name in given or name in option_names for name in row):
        options = {name: _text(value) for name, value in row.items() if name not in given}
        return ParsedRequest("raw", [given], options, textual=True)
    name = _instance_field(row, option_names)
    options = {field: _text(value) for field, value in row.items() if field != name}
    if json_length is None:
        value = _parsed(row[name], content_types.get(name, ""))
    else:
        value = binary_tensors.join(row[name], json_length)
    if isinstance(value, (bytes, str)):
        if len(value) == 0:
            raise BadRequest("the request is empty", hint="send an instance as the body")
        return ParsedRequest("raw", [value], options, textual=True)
    if not isinstance(value, dict):
        return ParsedRequest("raw", [value], options, textual=True)
    if "instances" in value:
        request = _read_v1(value)
    elif isinstance(inputs := value.get("inputs"), list):
        request = _read_v2(inputs, value, parts)
    else:
        request = _read_object(value)
    if not options:
        return request
    # JSON in a form, with options in other fields.
    return dataclasses.replace(request, options={**options, **request.options}, textual=True)


def read_json(row: Mapping[str, object], content_types: Mapping[str, str]) -> object:
    """Read the body of a row that is JSON and nothing else.

    Raises:
        BadRequest: there is none, or it is wrong.
    """
    name = _instance_field(row, ())
    value = _parsed(row[name], content_types.get(name, ""))
    if isinstance(value, (bytes, str)):
        raise BadRequest(
            "the body is not JSON", hint="set the header Content-Type: application/json"
        )
    return value


def _instance_field(row: Mapping[str, object], option_names: Sequence[str]) -> str:
    if any(name.lstrip()[:1] in ("{", "[") for name in row):  # what `curl -d` makes of JSON
        raise BadRequest(
            "the body is JSON, sent as a form", hint="set the header Content-Type: application/json"
        )
    for name in BODY_FIELDS:
        if name in row:
            return name
    candidates = [name for name in row if name not in option_names]
    if len(candidates) == 1:
        return candidates[0]
    hint = "send the instance as the body, or in a form field 'data'"
    if candidates:
        fields = ", ".join(ascii(name[:40]) for name in candidates[:8])
        raise BadRequest(f"it is unclear which field is the instance: {fields}", hint=hint)
    raise BadRequest("the request has no instance", hint=hint)


def _text(value: object) -> object:
    return (
        bytes(value).decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else value
    )


def _parsed(value: object, content_type: str) -> object:
    """Turn any kind of bytes into `bytes`, and parse JSON that TorchServe left as bytes.

    TorchServe parses only `application/json`; it leaves what it can't parse (too deep, a
    number of too many digits, not UTF-8) as bytes, and everything that came by gRPC.
    """
    if not isinstance(value, (bytes, bytearray)):
        return value
    value = bytes(value)
    media = content_type.partition(";")[0].strip().lower()
    declared = media == JSON or media.endswith("+json")
    if not declared and (media or value[:1] != b"{"):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        if not declared:
            return value
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise BadRequest(f"the body is not valid JSON: {reason[:200]!a}") from None
    return parsed if declared or isinstance(parsed, dict) else value


def _read_object(body: Mapping[str, object]) -> ParsedRequest:
    options = _parameters(body)
    rest = {key: value for key, value in body.items() if key != "parameters"}
    for name in BODY_FIELDS:
        if list(rest) == [name]:
            return ParsedRequest("raw", [unwrap(rest[name])], options)
    if not rest:
        raise BadRequest("the request has no instance", hint='send it as "data", or "instances"')
    return ParsedRequest("raw", [unwrap(rest)], options)


def _read_v1(body: Mapping[str, object]) -> ParsedRequest:
    instances = body["instances"]
    if not isinstance(instances, list):
        raise BadRequest(f"'instances' must be a list, not {kind(instances)}")
    if not instances:
        raise BadRequest("'instances' is empty", hint="send at least one instance")
    return ParsedRequest("v1", [unwrap(instance) for instance in instances], _parameters(body))


def _parameters(body: Mapping[str, object]) -> Mapping[str, object]:
    parameters = body.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadRequest(f"'parameters' must be an object, not {kind(parameters)}")
    return parameters


def unwrap(instance: object) -> object:
    """Decode `{"b64": "..."}`, KServe's way to put bytes into JSON; leave others as they are."""
    if isinstance(instance, dict) and list(instance) == ["b64"]:
        return from_base64(instance["b64"])
    return instance


def encoded(instance: object, what: str) -> bytes:
    """The bytes of an instance that is a file, or a file in base64.

    Args:
        instance: as `ParsedRequest` has it.
        what: what it should be, for the message: "an image".

    Raises:
        BadRequest: it is neither.
    """
    if isinstance(instance, str):
        return from_base64(instance)
    if not isinstance(instance, bytes):
        raise BadRequest(
            f"{what} must be bytes, base64 text or a list of numbers, not {kind(instance)}"
        )
    return instance


def from_base64(text: object) -> bytes:
    """Decode base64 text, with or without a `data:` prefix and padding.

    Raises:
        BadRequest: not a string, empty, or not base64.
    """
    if not isinstance(text, str):
        raise BadRequest(f"base64 must be a string, not {kind(text)}")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    text = "".join(text.split())
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("the string is not base64", hint="encode the file's bytes") from None
    if not data:
        raise BadRequest("the base64 string is empty")
    return data


def _read_v2(
    inputs: Sequence[object], body: Mapping[str, object], parts: Sequence[str]
) -> ParsedRequest:
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
    options = dict(_parameters(body))
    binary = _flag(options.pop(BINARY_OUTPUT, False), BINARY_OUTPUT)
    wanted = _read_wanted(body.get("outputs"), binary)
    return ParsedRequest("v2", instances, options, False, identity, wanted, binary)


def _read_wanted(outputs: object, binary: bool) -> Mapping[str, bool] | None:
    """The outputs that a request names, and whether each is wanted as bytes."""
    if outputs is None:
        return None
    wanted: dict[str, bool] = {}
    for entry in outputs if isinstance(outputs, list) else [None]:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise BadRequest("'outputs' must be a list of objects, each with the name of an output")
        parameters = _parameters(entry)
        if parameters.get("classification"):
            raise BadRequest("an output's 'classification' is not offered; leave it out")
        wanted[entry["name"]] = _flag(parameters.get("binary_data", binary), "binary_data")
    return wanted or None


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise BadRequest(f"{name!r} must be true or false, not {kind(value)}")
    return value


def write(
    request: ParsedRequest, answers: Sequence[Answer], *, model_name: str, model_version: str
) -> AnswerBytes:
    """Write a request's answers in its protocol: ASCII JSON, and bytes behind it if wanted.

    Raises:
        BadRequest: the request wants an output that there isn't.
        ModelError: an answer has a number in it that is not finite, which JSON has no word for.
    """
    try:
        if request.protocol == "raw":
            return AnswerBytes(dump(answers[0].to_json()))
        if request.protocol == "v1":
            return AnswerBytes(dump({"predictions": [answer.to_json() for answer in answers]}))
        model = {"model_name": model_name, "model_version": model_version}
        identity = {} if request.identity is None else {"id": request.identity}
        return _write_v2(request, {**model, **identity}, tensors.columns(answers))
    except ValueError:
        raise ModelError("the model's answer is not finite", hint="check the input") from None


def _write_v2(
    request: ParsedRequest, head: Mapping[str, str], columns: Sequence[tensors.Column]
) -> AnswerBytes:
    known = {column.name: column for column in columns}
    wanted = request.outputs or dict.fromkeys(known, request.binary)
    outputs: list[JsonObject] = []
    behind: list[bytes] = []
    for name, binary in wanted.items():
        if name not in known:
            raise BadRequest(unknown(name, list(known), "'outputs'"))
        if not binary:
            outputs.append(known[name].to_json())
            continue
        column, data = known[name], known[name].to_bytes()
        behind.append(data)
        outputs.append(
            {
                "name": name,
                "shape": column.shape,
                "datatype": column.datatype,
                "parameters": {"binary_data_size": len(data)},
            }
        )
    text = dump({**head, "outputs": outputs})
    return AnswerBytes(b"".join([text, *behind]), len(text) if behind else None)


def dump(body: object) -> bytes:
    """Write JSON in ASCII only: a lone surrogate in a str would end TorchServe's worker.

    Raises:
        ValueError: it has a NaN or an infinity in it.
    """
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")
