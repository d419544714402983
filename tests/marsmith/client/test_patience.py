"""How long a call may take, against servers that take their time."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from marsmith.client.asynchronous import AsyncClient
from marsmith.client.clients import Client
from marsmith.client.patience import Patience
from marsmith.errors import MarsmithError, RequestError, ServerError

LONG_S = 300.0


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of who takes connections, and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def told() -> Iterator[Callable[[Callable[[BaseHTTPRequestHandler], None]], str]]:
    """Start a server that answers as it is told, and give its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[BaseHTTPRequestHandler], None]) -> str:
        class Told(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                answer(self)

            def log_message(self, *_: Any) -> None:
                """Be silent."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Told))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for each in servers:
        each.shutdown()
        each.server_close()


def ask(address: str, *, asynchronous: bool, **arguments: Any) -> object:
    async def awaited() -> object:
        async with AsyncClient(address, timeout_s=LONG_S, retries=5) as client:
            return await client.predict("m", [1], **arguments)

    if asynchronous:
        return asyncio.run(awaited())
    with Client(address, timeout_s=LONG_S, retries=5) as client:
        return client.predict("m", [1], **arguments)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_call_ends_at_its_deadline(silent: str, asynchronous: bool) -> None:
    with pytest.raises(ServerError, match=r"did not answer POST /predictions/m within 0\.2 s"):
        ask(silent, asynchronous=asynchronous, deadline_s=0.2)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_nobody_waits_for_what_comes_after_the_deadline(
    told: Callable[..., str], asynchronous: bool
) -> None:
    asked = []

    def later(exchange: BaseHTTPRequestHandler) -> None:
        asked.append(1)
        exchange.send_response(503)
        exchange.send_header("Retry-After", "10")
        exchange.send_header("Content-Length", "0")
        exchange.end_headers()

    with pytest.raises(RequestError) as caught:
        ask(told(later), asynchronous=asynchronous, deadline_s=9.0)
    assert caught.value.status == 503
    assert len(asked) == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_attempts_share_one_deadline(told: Callable[..., str], asynchronous: bool) -> None:
    asked = []

    def lost(exchange: BaseHTTPRequestHandler) -> None:
        asked.append(1)
        exchange.close_connection = True

    with pytest.raises(ServerError):
        ask(told(lost), asynchronous=asynchronous, deadline_s=1.0)
    assert 1 <= len(asked) < 6  # pauses of 0.25, 0.5, 1, 2 and 4 s would have come after it


def test_who_says_no_time_is_asked_after_longer_and_longer_pauses() -> None:
    patience, busy = Patience(LONG_S, 5), httpx.Response(503)
    pauses = [patience.pause_s(busy, attempt) for attempt in range(6)]
    first, second, *_, last, none = pauses
    assert first
    assert second
    assert first < second
    assert last
    assert none is None
    assert Patience(LONG_S, 5, deadline_s=0.1).pause_s(busy, 0) is None
    assert Patience(LONG_S, 5).pause_s(httpx.Response(500), 0) is None


def test_a_stream_ends_at_its_deadline(told: Callable[..., str]) -> None:
    stopped = threading.Event()

    def dribble(exchange: BaseHTTPRequestHandler) -> None:
        exchange.send_response(200)
        exchange.end_headers()
        while not stopped.wait(0.05):
            try:
                exchange.wfile.write(b'{"text": "a"}\n')
            except OSError:
                return

    address = told(dribble)
    try:
        with Client(address) as client, pytest.raises(ServerError, match=r"within 0\.5 s"):
            list(client.stream("m", "x", deadline_s=0.5))

        async def awaited() -> None:
            async with AsyncClient(address) as client:
                async for piece in client.stream("m", "x", deadline_s=0.5):
                    assert piece == {"text": "a"}

        with pytest.raises(ServerError, match=r"within 0\.5 s"):
            asyncio.run(awaited())
    finally:
        stopped.set()


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_deadline_that_is_none_is_refused(silent: str, seconds: float) -> None:
    with pytest.raises(MarsmithError, match="deadline_s must be more than 0 seconds"):
        ask(silent, asynchronous=False, deadline_s=seconds)


def test_an_attempt_has_the_time_that_is_left() -> None:
    request = httpx.Request("GET", "http://nowhere")
    Patience(LONG_S, 0).check(request)
    assert set(request.extensions["timeout"].values()) == {LONG_S}
    patience = Patience(LONG_S, 0, deadline_s=0.05)
    patience.check(request)
    assert all(0 < each <= 0.05 for each in request.extensions["timeout"].values())
    time.sleep(0.06)
    with pytest.raises(httpx.TimeoutException):
        patience.check(request)
