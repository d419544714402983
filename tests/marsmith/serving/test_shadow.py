"""Two versions that are asked the same; clients get what one of them says."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsmith.serving.shadow import JSON_LENGTH, MirroredAnswer, Shadow, differ
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


def answer(said: object, status: int = 200) -> MirroredAnswer:
    return MirroredAnswer(status, httpx.Headers(), json.dumps(said).encode())


def binary(numbers: list[float]) -> MirroredAnswer:
    """Tensors of the Open Inference Protocol, in binary."""
    data = np.array(numbers, np.float32).tobytes()
    output = {
        "name": "y", "datatype": "FP32", "shape": [len(numbers)],
        "parameters": {"binary_data_size": len(data)},
    }  # fmt: skip
    head = json.dumps({"model_version": str(numbers), "outputs": [output]}).encode()
    headers = httpx.Headers({JSON_LENGTH: str(len(head))})
    return MirroredAnswer(200, headers, head + data)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (answer({"a": 1.0}), answer({"a": 1.05}), ""),
        (answer({"a": 1.0}), answer({"a": 1.2}), "numbers by"),
        (answer({"a": 2000.0}), answer({"a": 2100.0}), ""),
        (answer({"label": "cat"}), answer({"label": "dog"}), "more than in numbers"),
        (answer({"model_version": "1", "a": 0}), answer({"model_version": "2", "a": 0}), ""),
        (answer({}, 400), answer({"other": "words"}, 400), ""),
        (answer({}, 503), answer({}, 200), "status 503 instead of 200"),
        (binary([1.0, 2.0]), binary([1.0, 2.05]), ""),
        (binary([1.0, 2.0]), binary([1.0, 3.0]), "numbers by 0.333"),
        (binary([1.0, 2.0]), binary([1.0]), "more than in numbers"),
        (
            MirroredAnswer(200, httpx.Headers(), b"\x00"),
            MirroredAnswer(200, httpx.Headers(), b"\x01"),
            "more",
        ),
    ],
)
def test_how_answers_differ(one: MirroredAnswer, other: MirroredAnswer, words: str) -> None:
    found = differ(one, other, 0.1)
    assert found.startswith(words)
    assert bool(found) == bool(words)


TENSORS = st.fixed_dictionaries(
    {
        "outputs": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": st.just("y"),
                    "datatype": st.sampled_from(["FP32", "BYTES", "none", 1]),
                    "shape": st.lists(st.integers(-1, 3)) | st.text(),
                    "parameters": st.none()
                    | st.fixed_dictionaries({"binary_data_size": st.integers()}),
                },
            )
            | st.integers()
        )
    }
).map(lambda said: json.dumps(said).encode())


@given(st.binary() | TENSORS, st.binary() | TENSORS, st.integers(-1, 200).map(str) | st.just("x"))
def test_answers_of_any_kind_can_be_compared(one: bytes, other: bytes, length: str) -> None:
    headers = httpx.Headers({JSON_LENGTH: length})
    assert differ(MirroredAnswer(200, headers, one), MirroredAnswer(200, headers, one), 0.0) == ""
    differ(MirroredAnswer(200, headers, one), MirroredAnswer(200, headers, other), 0.0)
