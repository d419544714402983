"""What Prometheus scrapes: the front's own metrics and TorchServe's, at one address."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST

TIMEOUT_S = 10


class _Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT_S
    server: Scrape

    def do_GET(self) -> None:
        body = self.server.collect()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "front"

    def log_message(self, *_: object) -> None:
        """The front has logged it."""


class Scrape(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves metrics at a Unix socket, from a thread of its own.

    Args:
        path: of the socket.
        collect: makes the text.
    """

    daemon_threads = True

    def __init__(self, path: Path, collect: Callable[[], bytes]) -> None:
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Handler)
        self.collect = collect
        threading.Thread(target=self.serve_forever, daemon=True, name="metrics").start()

    def end(self) -> None:
        """Serve no more."""
        self.shutdown()
        self.server_close()
