"""What commands ask a server's supervisor for: lines of JSON at a Unix socket."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from marsmith.errors import MarsmithError, ServerError

SOCKET = "control"
CONNECT_S = 5.0

Say = Callable[[Mapping[str, Any]], None]


class Control(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers at a Unix socket, from threads of its own.

    Args:
        path: of the socket.
        answer: takes what is asked, and what takes the lines of the answer.
    """

    daemon_threads = True

    def __init__(self, path: Path, answer: Callable[[Mapping[str, Any], Say], None]) -> None:
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Conversation)
        path.chmod(0o600)
        self.answer = answer
        threading.Thread(target=self.serve_forever, daemon=True, name="control").start()

    def end(self) -> None:
        """Answer no more."""
        self.shutdown()
        self.server_close()


class _Conversation(socketserver.StreamRequestHandler):
    server: Control

    def handle(self) -> None:
        def say(line: Mapping[str, Any]) -> None:
            # Who has hung up is not told; what was asked for goes on.
            with suppress(OSError):
                self.wfile.write(json.dumps(line).encode() + b"\n")

        try:
            self.server.answer(json.loads(self.rfile.readline()), say)
            say({"done": True})
        except MarsmithError as error:
            say({"error": error.message, "hint": error.hint})
        except Exception as error:  # a bug of ours is told, too
            say({"error": f"{type(error).__name__}: {error}", "hint": "see supervisor.log"})
            raise


def ask(temp_dir: Path, line_s: float, **what: Any) -> Iterator[dict[str, Any]]:
    """Ask a server's supervisor; yield the lines of its answer.

    Args:
        temp_dir: the server's.
        line_s: how long each line may take.
        what: is asked.

    Raises:
        ServerError: it refuses, or does not answer.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONNECT_S)
        try:
            connection.connect(str(temp_dir / SOCKET))
            connection.settimeout(line_s)
            connection.sendall(json.dumps(what).encode() + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    said: dict[str, Any] = json.loads(line)
                    if "error" in said:
                        raise ServerError(said["error"], hint=said["hint"])
                    if said.get("done"):
                        return
                    yield said
        except OSError as error:
            raise ServerError(
                f"the server's supervisor does not answer: {error}",
                hint="see what is wrong with `marsmith status`",
            ) from error
    raise ServerError(
        "the server's supervisor ended before it had answered", hint="see supervisor.log"
    )
