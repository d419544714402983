"""What is made of answers that a server should not give."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from marsmith.client.asynchronous import AsyncClient
from marsmith.client.clients import Client
from marsmith.client.flows import Api
from marsmith.errors import MarsmithError, RequestError, ServerError

Address = Callable[..., str]
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def answering() -> Iterator[Address]:
    """A server that answers 200 with a body, and its address."""
    servers: list[HTTPServer] = []

    def start(body: bytes, kind: str = "application/json") -> str:
        class Fixed(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Fixed))
        Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for each in servers:
        each.shutdown()
        each.server_close()


def streamed(address: str) -> list[Any]:
    with Client(address, NOBODY, timeout_s=60) as client:
        return list(client.stream("m", "x"))


async def awaited(address: str) -> list[Any]:
    async with AsyncClient(address, NOBODY, timeout_s=60) as client:
        return [piece async for piece in client.stream("m", "x")]


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", ServerError, "ended before its last piece"),
        (b'{"text": "a"}\n', ServerError, "ended before its last piece"),
        (b'{"label": "cat"}', ServerError, "ended before its last piece"),
        (b'{"text": "a"}\n{\n  "code": 500,\n', ServerError, "is not a piece"),
        (b"5\n", ServerError, "is not a piece"),
        (b'{"error": null}\n', RequestError, "None"),
        (b'{"text": "a"}\n{"error": "no", "hint": "why"}\n', RequestError, "no"),
    ],
)
def test_a_stream_that_is_not_whole_is_an_error(
    answering: Address, body: bytes, kind: type[MarsmithError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        streamed(answering(body))
    with pytest.raises(kind, match=words):
        asyncio.run(awaited(answering(body)))


def test_a_whole_stream_is_given(answering: Address) -> None:
    address = answering(b'{"text": "a"}\n\n{"text": "", "finish_reason": "stop"}\n')
    wanted = [{"text": "a"}, {"text": "", "finish_reason": "stop"}]
    assert streamed(address) == wanted == asyncio.run(awaited(address))


def test_sound_is_given_as_its_bytes(answering: Address) -> None:
    sound = b"RIFF\xff\xff\xff\xff" + bytes(range(256))
    address = answering(sound, "audio/wav")
    assert b"".join(streamed(address)) == sound == b"".join(asyncio.run(awaited(address)))


def test_an_error_that_came_after_its_headers_is_an_error(answering: Address) -> None:
    address = answering(b'{"error": "it failed", "hint": "see the log"}')
    with Client(address, NOBODY) as client, pytest.raises(RequestError, match="it failed"):
        client.predict("m", "x")


def test_a_unix_socket_is_named_as_it_was_given() -> None:
    api = Api("unix:/run/inference", "http://127.0.0.1:8081", None)
    described = api.model("m")
    assert api.address(next(described)) == "http://127.0.0.1:8081"
    asked = api.ask("predictions", "m", [1], None, None, None)
    assert api.address(next(asked)) == "unix:/run/inference"
