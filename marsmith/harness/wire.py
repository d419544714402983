"""TorchServe's worker protocol, spoken from the frontend's side.

A frontend sends a worker one load and then batches of requests, over a stream socket. All
integers are big-endian, signed, 32 bits wide; a string or a blob is its length in bytes and its
bytes; a list ends with the length -1. A worker counts some strings of its answer in characters,
though: after one "é" all that follows is read one byte off. The frontend then waits for ever; the
reader here raises an error soon.

See: `ModelRequestEncoder.java`, `ModelResponseDecoder.java` and `InferenceRequestHandler.java`
in TorchServe's frontend, and `ts/protocol/otf_message_handler.py` for the other end.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from marsmith.errors import ArchiveError

Headers = Mapping[str, str] | None
FormField = str | bytes | tuple[bytes, str]

MAX_RESPONSE_SIZE = 6_553_500  # bytes: the frontend's default for max_response_size

_MAX_HEADERS = 1000
_BLOCK = 65_536
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True)
class Parameter:
    """One named part of a request; `content_type` is empty where a client named none."""

    name: str
    value: bytes
    content_type: str = ""


@dataclass(frozen=True)
class Request:
    """One request, as the frontend passes it on.

    `raw`, `json` and `form` make what the frontend passes on of a POST to `/predictions/<model>`
    or, with `explain`, to `/explanations/<model>`: it sets the headers `url_path` and `explain`,
    whatever the client wrote there, and cuts a content type at its first ";". A query string
    never gets this far. A gRPC request is `Request(parameters)`: no types and no headers.
    """

    parameters: tuple[Parameter, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def again(self) -> Request:
        """The request as a worker that serves continuously gets it again: without a body."""
        return replace(self, parameters=())

    @classmethod
    def raw(
        cls, body: bytes, content_type: str = "", headers: Headers = None, *, explain: bool = False
    ) -> Request:
        """A body sent as it is, which arrives as the parameter `body`.

        `content_type` is the client's header, charset and all; `headers` are its others.
        """
        sent = {"Content-Length": str(len(body)), **(headers or {})}
        if content_type:
            sent["Content-Type"] = content_type
        part = _parameter("body", (body, content_type))
        return cls((part,), {**sent, "url_path": "", "explain": str(explain)})

    @classmethod
    def json(cls, value: object, headers: Headers = None, *, explain: bool = False) -> Request:
        """A JSON body; the worker decodes it before the handler sees it."""
        return cls.raw(json.dumps(value).encode(), "application/json", headers, explain=explain)

    @classmethod
    def form(
        cls, fields: Mapping[str, FormField], headers: Headers = None, *, explain: bool = False
    ) -> Request:
        """A multipart form.

        A `str` is a plain field, which loses whatever type the client gave it; `bytes` are a file
        of no known type, `application/octet-stream`; a pair is a file and its content type.
        """
        sent = {"Content-Type": "multipart/form-data; boundary=boundary", **(headers or {})}
        parts = tuple(_parameter(name, value) for name, value in fields.items())
        return cls(parts, {**sent, "url_path": "", "explain": str(explain)})

    @classmethod
    def describe(cls) -> Request:
        """The request that `GET /models/<model>?customized=true` makes, in a batch of its own."""
        return cls((), {"describe": "True"})


@dataclass(frozen=True)
class Response:
    """What a client gets; `reason` and `content_type` are empty where the worker gave none."""

    status: int
    reason: str
    content_type: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body read as JSON, whatever its content type says."""
        return json.loads(self.body)

    @property
    def more_follows(self) -> bool:
        """Whether this is a part of a stream, and not the last."""
        return self.headers.get("ts_stream_next") == "true"


@dataclass(frozen=True)
class Frame:
    """One frame from a worker: a status for the whole, and a response per request id, in order."""

    code: int
    message: str
    responses: Mapping[str, Response]

    @property
    def more_follows(self) -> bool:
        """Whether this is part of a stream, with at least one more frame to come."""
        return any(response.more_follows for response in self.responses.values())

    def answers(self, requests: Sequence[Request]) -> list[Response]:
        """Return one response per request: the frontend's own error if the whole batch failed.

        Raises:
            ArchiveError: the worker answered other requests than those it got.
        """
        if self.code != http.HTTPStatus.OK:
            return [_frontend_error(self.code, self.message)] * len(requests)
        asked = [request.request_id for request in requests]
        if sorted(asked) != sorted(self.responses):
            raise ArchiveError(f"the worker answered {list(self.responses)} and was asked {asked}")
        return [self.responses[request_id] for request_id in asked]


def encode_load(
    model_name: str,
    model_dir: str,
    handler: str,
    batch_size: int,
    gpu_id: int | None,
    envelope: str = "",
    limit_max_image_pixels: bool = True,
) -> bytes:
    """The command that makes a worker load its model; a `gpu_id` of None means the CPU."""
    model = _sized(model_name) + _sized(model_dir) + struct.pack("!i", max(1, batch_size))
    device = struct.pack("!i", -1 if gpu_id is None else gpu_id)
    options = device + _sized(envelope) + struct.pack("!?", limit_max_image_pixels)
    return b"L" + model + _sized(handler) + options


def encode_predict(requests: Sequence[Request]) -> bytes:
    """The command that makes a worker answer one batch of requests."""
    end = struct.pack("!i", -1)
    parts = [b"I"]
    for request in requests:
        parts.append(_sized(request.request_id))
        parts += (_sized(text) for header in request.headers.items() for text in header)
        parts.append(end)
        for part in request.parameters:
            parts += (_sized(part.name), _sized(part.content_type), _sized(part.value))
        parts.append(end)
    return b"".join((*parts, end))


def read_response(
    sock: socket.socket,
    *,
    max_response_size: int = MAX_RESPONSE_SIZE,
    timeout_s: float | None = None,
    stall_s: float = 10.0,
) -> Frame:
    """Read one frame that a worker sent.

    Args:
        sock: the connected socket.
        max_response_size: bytes that a field may have: a body, or a name.
        timeout_s: how long to wait for the frame to begin; None waits for ever.
        stall_s: how long a frame may pause; a worker writes it in one go.

    Raises:
        ArchiveError: the frontend could not read this frame.
        TimeoutError: no frame began in time.
        EOFError: the worker closed the connection.
    """
    frame = _FrameReader(sock, max_response_size, stall_s)
    before = sock.gettimeout()
    try:
        sock.settimeout(timeout_s)
        code, message = frame.status(), frame.text("message", frame.integer())
        responses = {}
        while (size := frame.integer()) != -1:
            request_id = frame.text("request id", size)
            responses[request_id] = frame.response()
        batch = Frame(code, message, responses)
        frame.leave(more_follows=batch.more_follows)
        return batch
    finally:
        sock.settimeout(before)


class _FrameReader:
    """Reads a frame from a socket, field by field, and refuses what can't be one.

    It looks at what has come before it takes it: a frame costs few system calls, and what follows
    it stays where it is.
    """

    def __init__(self, sock: socket.socket, max_size: int, stall_s: float) -> None:
        self.sock, self.max_size, self.stall_s, self.begun = sock, max_size, stall_s, False
        self.seen, self.at = b"", 0

    def take(self, size: int) -> bytes:
        if self.at == len(self.seen) and size:
            self.receive(self.at)
            self.seen, self.at = self.packet(_BLOCK, size, socket.MSG_PEEK), 0
        begin, self.at = self.at, self.at + size
        if self.at <= len(self.seen):
            return self.seen[begin : self.at]
        data = self.receive(self.at)
        self.seen, self.at = b"", 0
        return data[begin:]

    def receive(self, size: int) -> bytes:
        data = bytearray()
        while (missing := size - len(data)) > 0:
            data += self.packet(min(missing, 1 << 20), missing)
        return bytes(data)

    def packet(self, size: int, missing: int, flags: int = 0) -> bytes:
        try:
            packet = self.sock.recv(size, flags)
        except TimeoutError:
            if not self.begun:
                raise
            raise _shifted(f"it stops {missing} bytes before its end") from None
        except ConnectionError:
            packet = b""
        if not packet:
            raise EOFError("the worker closed the connection")
        if not self.begun:
            self.begun = True
            self.sock.settimeout(self.stall_s)
        return packet

    def leave(self, *, more_follows: bool) -> None:
        """Take what was read, and refuse what follows it, unless it may."""
        rest = self.seen[self.at :]
        if rest and not more_follows:
            raise _shifted(f"{rest[:64]!r} follows its end")
        self.receive(self.at)

    def integer(self) -> int:
        return int(struct.unpack("!i", self.take(4))[0])

    def status(self) -> int:
        if not 100 <= (value := self.integer()) <= 999:
            raise _shifted(f"{value} is not an HTTP status")
        return value

    def blob(self, what: str, size: int) -> bytes:
        if not 0 <= size <= self.max_size:
            raise _shifted(f"its {what} has a length of {size}, allowed are 0 to {self.max_size}")
        return self.take(size)

    def text(self, what: str, size: int) -> str:
        try:
            return self.blob(what, size).decode()
        except UnicodeDecodeError as error:
            raise _shifted(f"its {what} is not UTF-8 ({error})") from None

    def header(self, what: str, allowed: re.Pattern[str] | None = None) -> str:
        text = self.text(what, self.integer())
        if _CONTROL.search(text) or not (allowed is None or allowed.fullmatch(text)):
            raise ArchiveError(f"HTTP forbids this {what}: {text!r}")
        return text

    def response(self) -> Response:
        content_type = self.header("content type")
        status, reason = self.status(), self.header("reason phrase")
        if not 0 <= (count := self.integer()) <= _MAX_HEADERS:
            raise _shifted(f"{count} headers are announced")
        headers = {}
        for _ in range(count):
            name = self.header("header name", _HEADER_NAME)
            headers[name] = self.header("header value")
        return Response(status, reason, content_type, headers, self.blob("body", self.integer()))


def _shifted(found: str) -> ArchiveError:
    return ArchiveError(
        f"TorchServe's frontend could not read the worker's answer: {found}",
        hint="keep reason phrases and content types ASCII, and bodies within max_response_size",
    )


def _sized(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("!i", len(data)) + data


def _parameter(name: str, value: FormField) -> Parameter:
    if isinstance(value, str):
        return Parameter(name, value.encode())
    body, content_type = (value, "application/octet-stream") if isinstance(value, bytes) else value
    return Parameter(name, body, content_type.split(";", 1)[0])


def _frontend_error(code: int, message: str) -> Response:
    code = 507 if code == 413 else code
    error = {"code": code, "type": "InternalServerException", "message": message}
    body = json.dumps(error, indent=2, ensure_ascii=False).encode() + b"\n"
    kind, reason = "application/json", http.client.responses.get(code, "")
    return Response(code, reason, kind, {"content-type": kind}, body)
