"""How what two versions answer to the same differs, and how often."""

from __future__ import annotations

import json
import struct
import threading
from dataclasses import dataclass, field
from typing import NamedTuple

import httpx

from marsmith.client.comparison import difference

OF_A_VERSION = "model_version"
JSON_LENGTH = "Inference-Header-Content-Length"
"""How many bytes of an answer are JSON; binary tensors follow."""
FORMATS = {
    "BOOL": "?", "INT8": "b", "UINT8": "B", "INT16": "h", "UINT16": "H", "INT32": "i",
    "UINT32": "I", "INT64": "q", "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
"""Of the tensors of the Open Inference Protocol, as `struct` calls them."""


class MirroredAnswer(NamedTuple):
    """What a version said to it."""

    status: int
    headers: httpx.Headers
    body: bytes


@dataclass
class Compared:
    """What was found so far.

    Attributes:
        answers: how many were compared.
        differ: how many of them differ.
        first: how the first of these does, in words; nothing of what was answered.
    """

    answers: int = 0
    differ: int = 0
    first: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, words: str) -> None:
        """Count one; `words` say how it differs, and are empty when it doesn't."""
        with self.lock:
            self.answers += 1
            self.differ += bool(words)
            self.first = self.first or words


def differ(answer: MirroredAnswer, expected: MirroredAnswer, tolerance: float) -> str:
    """Say in words how an answer differs from the one that is expected; empty if it doesn't.

    Answers in JSON and tensors in binary differ by their numbers; where these are within the
    tolerance and all else is equal, they are alike. Errors are alike when their status is.
    """
    if answer.status != expected.status:
        return f"status {answer.status} instead of {expected.status}"
    if expected.status >= 400 or answer.body == expected.body:
        return ""
    found = difference(_content(answer), _content(expected), relative=True)
    if found <= tolerance:
        return ""
    return f"numbers by {found:.3g}" if found < float("inf") else "more than in numbers"


def _content(answer: MirroredAnswer) -> object:
    """An answer's JSON, without the version; its bytes, if it has none."""
    try:
        length = int(answer.headers.get(JSON_LENGTH, len(answer.body)))
        text, binary = answer.body[:length], answer.body[length:]
        said = json.loads(text)
        if isinstance(said, dict):
            said.pop(OF_A_VERSION, None)
            _read_binary(said, binary)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error):
        return answer.body.hex()
    return said


def _read_binary(said: dict[str, object], binary: bytes) -> None:
    """Put the numbers of binary tensors into the JSON before them."""
    outputs = said.get("outputs")
    for output in outputs if isinstance(outputs, list) else []:
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            continue
        own, binary = binary[:size], binary[size:]
        kind = FORMATS.get(output["datatype"])
        if kind is None:
            output["data"] = own.hex()
        else:
            count = len(own) // struct.calcsize(kind)
            output["data"] = list(struct.unpack(f"<{count}{kind}", own))
