"""A new version in the shadow: asked beside the one that serves, and its answers compared.

Clients get the answers of the version that serves. The front sends a share of a model's requests
through here; what the other version says to them is compared when nobody waits for it.
"""

from __future__ import annotations

import queue
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import NamedTuple

import httpx

from marsmith.client.answers import Compared, MirroredAnswer, differ

SERVER = "shadow"
"""What it is called in the front, and its socket."""
WAITING = 8
"""Requests that may wait to be compared; others are not."""
THREADS = 2
IDLE_S, CONNECT_S = 60.0, 5.0
KEPT_BYTES = 32_000_000
"""An answer that is longer is not compared."""
OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "expect", "te", "upgrade"}


class MirroredRequest(NamedTuple):
    """What a client asked."""

    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Shadow(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers with what one version says, and asks another one the same.

    Args:
        path: of the Unix socket that it listens at.
        serving: the socket of the version that serves.
        candidate: the socket of the one whose answers are compared.
        tolerance: how far apart numbers may be that are alike, absolutely or, beyond 1, relatively.
        timeout_s: how long an answer may take.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, path: Path, serving: Path, candidate: Path, tolerance: float, timeout_s: float
    ) -> None:
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Relay)
        path.chmod(0o600)
        self.compared = Compared()
        self._tolerance = tolerance
        self._serving, self._candidate = (
            httpx.Client(
                transport=httpx.HTTPTransport(uds=str(socket)),
                base_url="http://torchserve",
                headers={"Accept-Encoding": "identity"},
                timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
                trust_env=False,
            )
            for socket in (serving, candidate)
        )
        self._lock, self._relaying, self._ended = threading.Lock(), 0, False
        self._waiting: queue.Queue[tuple[MirroredRequest, MirroredAnswer] | None] = queue.Queue(
            WAITING
        )
        self._comparing = [
            threading.Thread(target=self._compare_all, daemon=True, name="shadow")
            for _ in range(THREADS)
        ]
        for thread in (*self._comparing, threading.Thread(target=self.serve_forever, daemon=True)):
            thread.start()

    @contextmanager
    def relayed(self, request: MirroredRequest) -> Iterator[httpx.Response]:
        """Ask the version that serves; its answer can be read as it comes."""
        with self._lock:
            self._relaying += 1
        try:
            with self._serving.stream(
                request.method, request.path, headers=request.headers, content=request.body
            ) as response:
                yield response
        finally:
            with self._lock:
                self._relaying -= 1
            self._close_if_done()

    def compare_later(self, request: MirroredRequest, answer: MirroredAnswer) -> None:
        """Compare what the other version says, unless too much is to be compared already."""
        with suppress(queue.Full):
            if not self._ended:
                self._waiting.put_nowait((request, answer))

    def _compare_all(self) -> None:
        while item := self._waiting.get():
            request, expected = item
            try:
                said = self._candidate.request(
                    request.method, request.path, headers=request.headers, content=request.body
                )
            except Exception as error:  # as in do_POST
                if not self._ended:
                    self.compared.add(f"no answer: {type(error).__name__}")
            else:
                answer = MirroredAnswer(said.status_code, said.headers, said.content)
                self.compared.add(differ(answer, expected, self._tolerance))

    def end(self) -> None:
        """Answer no more, and compare no more."""
        self._ended = True
        self.shutdown()
        self.server_close()
        with suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()
        for _ in self._comparing:
            self._waiting.put(None)
        self._candidate.close()
        self._close_if_done()

    def _close_if_done(self) -> None:
        """Close the connections to the version that serves, once nobody is answered by them."""
        with self._lock:
            if self._ended and not self._relaying:
                self._serving.close()


class _Relay(BaseHTTPRequestHandler):
    """One connection of the front's."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    server: Shadow

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])  # the front sends nothing here without
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in self.headers.items()
            if name.lower() not in OF_THE_CONNECTION
        ]
        request = MirroredRequest(self.command, self.path, headers, self.rfile.read(length))
        self._begun = False
        try:
            with self.server.relayed(request) as response:
                answer = self._pass_on(response)
        except OSError:  # who asked has hung up
            self.close_connection = True
        except Exception:  # httpx raises others than its own, too
            self._fail()
        else:
            # What the version that serves fails at says nothing of the other one.
            if answer is not None and answer.status < 500:
                self.server.compare_later(request, answer)

    def do_PUT(self) -> None:
        self.do_POST()

    def _pass_on(self, response: httpx.Response) -> MirroredAnswer | None:
        """Send an answer on as it comes, and keep it, unless it is too long."""
        chunked = "Content-Length" not in response.headers
        self.send_response_only(response.status_code, response.reason_phrase)
        for name, value in response.headers.multi_items():
            if name.lower() not in OF_THE_CONNECTION:
                self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._begun = True
        kept = bytearray()
        for part in response.iter_raw():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            if len(kept) <= KEPT_BYTES:
                kept += part
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
        whole = len(kept) <= KEPT_BYTES
        return (
            MirroredAnswer(response.status_code, response.headers, bytes(kept)) if whole else None
        )

    def _fail(self) -> None:
        """What has not begun to be answered is sent again by the front."""
        self.close_connection = True
        if not self._begun:
            self.send_response_only(502)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def address_string(self) -> str:
        return "front"

    def log_message(self, *_: object) -> None:
        """The front has logged it."""
