"""Write a request's answers in its protocol: raw, KServe's v1, or Open Inference v2."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from handlers.errors import BadRequest, ModelError
from handlers.protocols import tensors
from handlers.protocols.json_text import dump
from handlers.protocols.parsed_request import ParsedRequest
from handlers.schema import JsonObject, unknown
from handlers.task import Answer


@dataclasses.dataclass(frozen=True)
class AnswerBytes:
    """An answer as it is sent.

    Attributes:
        body: all of it.
        json_length: the length of the JSON before the bytes of tensors; None if there are none.
    """

    body: bytes
    json_length: int | None = None


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
