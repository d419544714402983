"""Requests as bytes that a fuzzer changes: a line, headers, an empty line, and the body.

    image_classification predict application/json
    accept: image/png

    {"data": ...}

The line names a worker of `tests.fuzz.workers`, what is asked of it, and the body's media type.
What is asked: `predict`, `explain`, `describe`; `fields`, a form that TorchServe has read, the body
being urlencoded; `grpc`, which has neither headers nor types.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl

from handlers.protocols import binary_tensors
from marsmith.harness.wire import Parameter, Request, Response
from tests.fuzz import workers
from tests.fuzz.workers import Worker
from tests.support.mutated_requests import edited, fresh, spoiled

GAP = b"\n\n"
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # no HTTP server lets these through
LONGEST_ERROR = 5000  # bytes
VERBS = ("predict", "explain", "describe", "fields", "grpc")
MEDIA_TYPES = (
    "application/json", "application/octet-stream", "text/plain", "image/png", "-",
    "application/json; charset=utf-8", "application/cloudevents+json", "größe/x",
)  # fmt: skip
ACCEPTED = (
    "image/png",
    "audio/wav",
    "*/*;q=0.1",
    "text/event-stream",
    "application/jsonlines",
    ",;q=",
)
JSON_LENGTH = re.compile(rb"(?i)" + binary_tensors.HEADER.encode() + rb": (\d{1,9})")


def message(
    worker: str, body: bytes, media_type: str = "-", verb: str = "predict", **headers: str
) -> bytes:
    """A request in bytes; of headers' names, `_` becomes `-`."""
    lines = [f"{worker} {verb} {media_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\n".join(lines).encode("latin-1") + GAP + body


def read(data: bytes) -> tuple[str, Request]:
    """The worker that is asked, and the request."""
    head, _, body = data.partition(GAP)
    first, *lines = head.decode("latin-1").split("\n")
    name, _, rest = first.partition(" ")
    verb, _, media_type = rest.partition(" ")
    media_type = "" if media_type == "-" else CONTROL.sub("", media_type)
    pairs = (line.partition(": ") for line in lines)
    headers = {name: CONTROL.sub("", value) for name, _, value in pairs if TOKEN.fullmatch(name)}
    match verb:
        case "describe":
            return name, Request.describe()
        case "fields":
            fields = dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True))
            return name, Request.form(fields, headers)
        case "grpc":
            return name, Request((Parameter("data", body),))
    return name, Request.raw(body, media_type, headers, explain=verb == "explain")


def of_own(name: str) -> Worker:
    """The worker that `tests.fuzz.workers` has by that name."""
    worker: Worker = getattr(workers, name)()
    return worker


def run(data: bytes, named: Sequence[str], find: Callable[[str], Worker] = of_own) -> None:
    """Send what a message says to its worker, sometimes beside a good one.

    Args:
        data: the message.
        named: the workers that there are.
        find: makes the one of a name, or has it.

    Raises:
        AssertionError: the answer is wrong.
        BaseException: what the handler wasn't made for.
    """
    name, request = read(data)
    number = zlib.crc32(data)
    worker = find(name if name in named else named[number % len(named)])
    worker.failures.error = None
    if number % 8:
        (answer,) = worker.ask([request])
    else:
        neighbour, answer = worker.ask([fresh(worker.example), request])
        assert neighbour.status == 200, "a neighbour was answered otherwise than alone"
    check(answer, worker.failures.error)


def check(answer: Response, error: BaseException | None) -> None:
    """Check that a request was answered, or refused for a reason.

    Raises:
        AssertionError: neither.
        BaseException: the error that the handler was not made for.
    """
    if error is not None:
        raise error
    assert answer.status < 500, (answer.status, answer.body[:500])
    if answer.content_type == "application/json":
        said = json.loads(answer.body.decode("ascii"), parse_constant=_refuse)
        if answer.status >= 400:
            assert set(said) in ({"error", "hint"}, {"error"}), said
            assert len(answer.body) <= LONGEST_ERROR
    else:
        assert answer.status == 200, answer.content_type


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} in JSON")


def mutate(data: bytes, random_: random.Random, others: Mapping[str, bytes] | None = None) -> bytes:
    """Change a message's body as its media type asks, or its head."""
    head, gap, body = data.partition(GAP)
    if not gap or random_.random() < 0.05:
        return spoiled(bytearray(data or b"\n"), random_)
    if random_.random() < 0.12:
        return _other_head(head, random_) + GAP + body
    if (said := JSON_LENGTH.search(head)) and int(said[1]) <= len(body):
        text, rest = body[: int(said[1])], body[int(said[1]) :]
        if random_.random() < 0.3:
            return head + GAP + text + (spoiled(bytearray(rest), random_) if rest else b"\0")
        text = _other_text(text, random_)
        head = head[: said.start(1)] + str(len(text)).encode() + head[said.end(1) :]
        return head + GAP + text + rest
    return head + GAP + _other_text(body, random_)


def _other_text(body: bytes, random_: random.Random) -> bytes:
    if body[:1] in (b"{", b"[") and random_.random() < 0.75:
        try:
            return json.dumps(edited(json.loads(body), random_)).encode()
        except (ValueError, RecursionError):
            pass
    return spoiled(bytearray(body), random_) if body else random_.randbytes(3)


def _other_head(head: bytes, random_: random.Random) -> bytes:
    first, *lines = head.split(b"\n")
    words = first.split(b" ", 2)
    match random_.randrange(4):
        case 0:
            words[1:2] = [random_.choice(VERBS).encode()]
        case 1:
            words[2:] = [random_.choice(MEDIA_TYPES).encode("latin-1")]
        case 2:
            lines.append(b"accept: " + random_.choice(ACCEPTED).encode())
        case _ if lines:
            place = random_.randrange(len(lines))
            lines[place] = spoiled(bytearray(lines[place] or b":"), random_)
    return b"\n".join([b" ".join(words), *lines])
