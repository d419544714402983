"""Two versions that are asked the same; clients get what one of them says."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from marsmith.serving.shadow import Shadow
from tests.support.waiting import wait_until

Speak = Callable[[BaseHTTPRequestHandler, bytes], None]


class Version(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A version of a model: an HTTP server at a Unix socket."""

    daemon_threads = True

    def __init__(self, path: Path, speak: Speak) -> None:
        asked: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked.append(self.rfile.read(int(self.headers["Content-Length"])))
                speak(self, asked[-1])

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(str(path), Handler)
        self.asked = asked
        threading.Thread(target=self.serve_forever, daemon=True).start()


def say(status: int, *headers: str) -> Speak:
    """MirroredAnswer with what was asked."""

    def speak(to: BaseHTTPRequestHandler, body: bytes) -> None:
        to.send_response_only(status)
        for header in headers:
            to.send_header(*header.split(": "))
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)

    return speak


def stream(to: BaseHTTPRequestHandler, body: bytes) -> None:
    """MirroredAnswer with what was asked, letter by letter."""
    to.send_response_only(200)
    to.send_header("Transfer-Encoding", "chunked")
    to.end_headers()
    for letter in body:
        to.wfile.write(b"1\r\n%c\r\n" % letter)
    to.wfile.write(b"0\r\n\r\n")


def hang_up(to: BaseHTTPRequestHandler, _: bytes) -> None:
    to.close_connection = True


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:  # a short path: a socket's is limited
        yield Path(name)


@pytest.fixture
def between(folder: Path) -> Iterator[Callable[[Speak, Speak], tuple[Shadow, httpx.Client]]]:
    """Start two versions, and what stands between them and the client."""
    started: list[tuple[Shadow, httpx.Client]] = []
    versions: list[Version] = []

    def start(serving: Speak, candidate: Speak) -> tuple[Shadow, httpx.Client]:
        sockets = [folder / "a", folder / "b"]
        versions.extend(map(Version, sockets, (serving, candidate)))
        shadow = Shadow(folder / "shadow", sockets[0], sockets[1], tolerance=0.1, timeout_s=10)
        transport = httpx.HTTPTransport(uds=str(folder / "shadow"))
        started.append((shadow, httpx.Client(transport=transport, base_url="http://a", timeout=60)))
        return started[-1]

    yield start
    for shadow, http in started:
        http.close()
        shadow.end()
    for version in versions:
        version.shutdown()
        version.server_close()


@pytest.mark.parametrize("serving", [say(200, "X-A: 1", "X-A: 2"), stream])
def test_a_client_gets_what_serves_and_both_are_asked(
    between: Callable[[Speak, Speak], tuple[Shadow, httpx.Client]], serving: Speak
) -> None:
    shadow, http = between(serving, say(200))
    for number in range(3):  # at one connection
        answer = http.post("/predictions/m", json={"n": number})
        assert (answer.status_code, answer.json()) == (200, {"n": number})
        assert answer.headers.get_list("X-A") == ([] if serving is stream else ["1", "2"])
        wait_until(lambda wanted=number + 1: shadow.compared.answers == wanted)  # type: ignore[misc]
    assert shadow.compared.differ == 0


def test_what_the_other_version_says_is_counted_alone(
    between: Callable[[Speak, Speak], tuple[Shadow, httpx.Client]],
) -> None:
    shadow, http = between(say(200), say(500))
    assert http.post("/predictions/m", json=[1]).json() == [1]
    wait_until(lambda: shadow.compared.answers == 1)
    assert (shadow.compared.differ, shadow.compared.first) == (1, "status 500 instead of 200")


def test_a_version_that_hangs_up(
    between: Callable[[Speak, Speak], tuple[Shadow, httpx.Client]],
) -> None:
    shadow, http = between(say(200), hang_up)
    assert http.post("/predictions/m", json=[1]).json() == [1]
    wait_until(lambda: shadow.compared.answers == 1)
    assert shadow.compared.first.startswith("no answer")


def test_headers_of_any_bytes_reach_both(
    between: Callable[[Speak, Speak], tuple[Shadow, httpx.Client]],
) -> None:
    shadow, http = between(say(200), say(200))
    headers = [(b"X-User", "Jürgen".encode("latin-1"))]
    assert http.post("/predictions/m", json=[1], headers=headers).json() == [1]
    wait_until(lambda: shadow.compared.answers == 1)
    assert shadow.compared.differ == 0


def test_what_the_version_that_serves_fails_at_is_not_compared(
    between: Callable[[Speak, Speak], tuple[Shadow, httpx.Client]],
) -> None:
    shadow, http = between(say(500), say(200))
    assert http.post("/predictions/m", json=[1]).status_code == 500
    assert http.post("/predictions/m", json=[1]).status_code == 500
    assert shadow.compared.answers == 0


def test_what_serves_hangs_up_and_the_front_can_send_it_again(
    between: Callable[[Speak, Speak], tuple[Shadow, httpx.Client]],
) -> None:
    shadow, http = between(hang_up, say(200))
    assert http.post("/predictions/m", json=[1]).status_code == 502
    assert shadow.compared.answers == 0
