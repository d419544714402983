"""Bodies in every protocol: raw, JSON, forms, KServe v1, Open Inference v2, binary tensors."""

from __future__ import annotations

import io
import json
import random
from typing import Any

import numpy as np

from tests.fuzz import messages
from tests.fuzz.messages import message
from tests.support import rents

JSON, BYTES = "application/json", "application/octet-stream"
BOUNDARY = "multipart/form-data; boundary=x"
WORKERS = ("tensors", "sequences", "tabular", "text_classification", "recommendation",
           "speech_synthesis")  # fmt: skip


def seeds() -> list[bytes]:
    rows = [{"rows": [[1.0, 2.0], [3.0, 4.0]], "weights": [0.5, 0.25], "scale": 3}]
    found = [_v1("tensors", rows), _v2(), _v2(binary=True), *_numpy(), *_sequences()]
    row = rents.table()[0][0]
    found += [_v1("tabular", [row, list(row.values())]), message("tabular", b"", verb="describe")]
    found += [_v1("tabular", [row], "explain", parameters={"method": "occlusion", "steps": 4})]
    found.append(message("tabular", b"data=%7B%22area%22%3A50%7D", verb="fields"))
    text = {"data": {"text": "one two", "text_pair": "größe"}, "parameters": {"top_k": 2}}
    found.append(message("text_classification", json.dumps(text).encode(), JSON))
    found.append(message("text_classification", "one größe".encode(), "text/plain"))
    found.append(message("text_classification", b"one two", verb="grpc"))
    found.append(message("text_classification", b"data=one+two&top_k=2", verb="fields"))
    entry = {"name": "x", "shape": [2], "datatype": "BYTES", "data": ["one", "two"]}
    body = {"inputs": [entry], "outputs": [{"name": "labels"}], "id": "7"}
    found.append(message("text_classification", json.dumps(body).encode(), JSON))
    history = {"data": {"history": [2, "item 3"]}, "parameters": {"top_k": 3}}
    found.append(message("recommendation", json.dumps(history).encode(), JSON))
    speak: dict[str, Any] = {"seed": 3, "voice": "ada", "speaking_rate": 0.5, "noise_scale": 0}
    body = {"data": "one two three", "parameters": speak}
    found.append(message("speech_synthesis", json.dumps(body).encode(), JSON))
    found.append(message("speech_synthesis", b"one two", "text/plain", Accept="audio/wav"))
    found.append(_v1("speech_synthesis", ["one", "two three"], parameters=speak))
    return [*found, *_forms()]


def _v1(worker: str, instances: list[Any], verb: str = "predict", **more: Any) -> bytes:
    return message(worker, json.dumps({"instances": instances, **more}).encode(), JSON, verb)


def _v2(*, binary: bool = False) -> bytes:
    given = {
        "rows": np.arange(8, dtype="<f4").reshape(2, 2, 2), "weights": np.ones((2, 2), "<f4"),
    }  # fmt: skip
    inputs: list[dict[str, Any]] = []
    for name, array in given.items():
        entry = {"name": name, "shape": list(array.shape), "datatype": "FP32"}
        size = {"parameters": {"binary_data_size": array.nbytes}}
        inputs.append(entry | (size if binary else {"data": array.ravel().tolist()}))
    body = {"id": "a", "inputs": inputs, "parameters": {"binary_data_output": binary}}
    text = json.dumps(body).encode()
    if not binary:
        return message("tensors", text, JSON)
    behind = b"".join(array.tobytes() for array in given.values())
    said = {"Inference_Header_Content_Length": str(len(text))}
    return message("tensors", text + behind, BYTES, **said)


def _numpy() -> list[bytes]:
    file = io.BytesIO()
    np.savez(file, rows=np.ones((2, 2), "<f4"), weights=np.ones(2, "<f4"))
    alone = io.BytesIO()
    np.save(alone, np.ones(4, "<f4"))
    return [message("tensors", file.getvalue()), message("sequences", alone.getvalue())]


def _sequences() -> list[bytes]:
    bodies = [
        {"data": [1, 2, 3, 4], "parameters": {"sequence_id": "a", "sequence_start": True}},
        {"data": {"step": [1, 2, 3, 4]}, "parameters": {"sequence_id": "a", "sequence_index": 1}},
        {"data": {"step": [1, 2, 3, 4], "state": [0, 0, 0]}},
    ]
    said = {"X_Sequence_Id": "a", "X_Sequence_Start": "1", "X_Sequence_Index": "0"}
    by_header = message("sequences", b"[1, 2, 3, 4]", JSON, **said)
    return [by_header, *(message("sequences", json.dumps(body).encode(), JSON) for body in bodies)]


def _forms() -> list[bytes]:
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n%s\r\n%s\r\n'
    texts = part % (b"data", b"Content-Type: text/plain\r\n", b"one two")
    texts += part % (b"top_k", b"", b"2")
    inner = json.dumps({"instances": ["one", "two"]}).encode()
    whole = part % (b"file", b"Content-Type: application/json\r\n", inner)
    ends = {"X_Form_Type": BOUNDARY}
    pairs = {"X_Form_Type": "application/x-www-form-urlencoded"}
    return [
        message("text_classification", texts + b"--x--\r\n", BYTES, **ends),
        message("text_classification", whole + b"--x--\r\n", BYTES, **ends),
        message("text_classification", b"data=one%20two&top_k=2", BYTES, **pairs),
    ]


def run(data: bytes) -> None:
    messages.run(data, WORKERS)


def mutate(data: bytes, random_: random.Random) -> bytes:
    return messages.mutate(data, random_)
