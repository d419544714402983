"""Read a request row's instances, in the protocol of the request.

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

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress

from handlers.errors import BadRequest
from handlers.protocols import base64_text, binary_tensors, json_text, open_inference
from handlers.protocols.json_text import JSON, USUAL, JsonLimits
from handlers.protocols.parsed_request import ParsedRequest, parameters
from handlers.schema import kind

BODY_FIELDS = ("body", "data")


def read(
    row: Mapping[str, object],
    content_types: Mapping[str, str],
    option_names: Sequence[str],
    json_length: str | None = None,
    parts: Sequence[str] = (),
    *,
    limits: JsonLimits = USUAL,
    max_inputs: int = 1000,
) -> ParsedRequest:
    """Read one row of a batch as TorchServe hands it over.

    Args:
        row: parameter names to values: bytes, text, or JSON that TorchServe has parsed.
        content_types: parameter names to the media types that came with them, if any.
        option_names: form fields of these names are options, not the instance.
        json_length: the length of the JSON in a body that has binary tensors behind it; see
            `binary_tensors`.
        parts: form fields of these names make up the instance, an object.
        limits: how much JSON it may hold.
        max_inputs: how many inputs, or outputs, a v2 request may name.

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
        value = _parsed(row[name], content_types.get(name, ""), limits)
    else:
        value = binary_tensors.join(row[name], json_length, limits)
    if isinstance(value, (bytes, str)):
        if len(value) == 0:
            raise BadRequest("the request is empty", hint="send an instance as the body")
        return ParsedRequest("raw", [value], options, textual=True)
    if not isinstance(value, dict):
        return ParsedRequest("raw", [value], options, textual=True)
    if "instances" in value:
        request = _read_v1(value)
    elif isinstance(inputs := value.get("inputs"), list):
        request = open_inference.read(inputs, value, parts, max_inputs)
    else:
        request = _read_object(value)
    if not options:
        return request
    # JSON in a form, with options in other fields.
    return dataclasses.replace(request, options={**options, **request.options}, textual=True)


def read_json(
    row: Mapping[str, object], content_types: Mapping[str, str], limits: JsonLimits = USUAL
) -> object:
    """Read the body of a row that is JSON and nothing else.

    Raises:
        BadRequest: there is none, or it is wrong.
    """
    name = _instance_field(row, ())
    value = _parsed(row[name], content_types.get(name, ""), limits)
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


def received(
    row: Mapping[str, object], content_types: Mapping[str, str], limits: JsonLimits
) -> dict[str, object]:
    """Do what TorchServe does with a row's values, and only what keeps its bounds.

    It would parse `application/json` whole, before a handler sees it; see
    `torchserve.leave_bodies`. What can't be parsed stays bytes, to be refused where it is read.

    Raises:
        BadRequest: 413, there is too much JSON in it.
    """
    found = dict(row)
    for name, value in row.items():
        media = content_types.get(name, "")
        if not isinstance(value, (bytes, bytearray)) or not media:
            continue
        with suppress(ValueError):
            if media == JSON:
                found[name] = json_text.parse(value, limits)
            elif media.startswith("text"):
                found[name] = value.decode("utf-8")
    return found


def _parsed(value: object, content_type: str, limits: JsonLimits) -> object:
    """Turn any kind of bytes into `bytes`, and parse JSON of other types, and of none.

    By gRPC there are no types.
    """
    if not isinstance(value, (bytes, bytearray)):
        return value
    value = bytes(value)
    media = content_type.partition(";")[0].strip().lower()
    declared = media == JSON or media.endswith("+json")
    if not declared and (media or value[:1] != b"{"):
        return value
    try:
        parsed = json_text.parse(value, limits)
    except ValueError as error:
        if not declared:
            return value
        raise BadRequest(f"the body is not valid JSON: {str(error)[:200]!a}") from None
    return parsed if declared or isinstance(parsed, dict) else value


def _read_object(body: Mapping[str, object]) -> ParsedRequest:
    options = parameters(body)
    rest = {key: value for key, value in body.items() if key != "parameters"}
    for name in BODY_FIELDS:
        if list(rest) == [name]:
            return ParsedRequest("raw", [base64_text.unwrap(rest[name])], options)
    if not rest:
        raise BadRequest("the request has no instance", hint='send it as "data", or "instances"')
    return ParsedRequest("raw", [base64_text.unwrap(rest)], options)


def _read_v1(body: Mapping[str, object]) -> ParsedRequest:
    instances = body["instances"]
    if not isinstance(instances, list):
        raise BadRequest(f"'instances' must be a list, not {kind(instances)}")
    if not instances:
        raise BadRequest("'instances' is empty", hint="send at least one instance")
    return ParsedRequest(
        "v1", [base64_text.unwrap(instance) for instance in instances], parameters(body)
    )
