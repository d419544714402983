"""Start the page's server, and open the browser at it."""

from __future__ import annotations

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress

from marsmith.errors import ServerError
from marsmith.extras import need
from marsmith.ui.app import application
from marsmith.ui.upstream import Upstream

MOST_CONNECTIONS = 100
GRACE_S = 2


def run(
    upstream: Upstream, host: str, port: int, announce: Callable[[str], None], *, browser: bool
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        upstream: the model server.
        host: the address to listen at.
        port: where; 0 takes a free one.
        announce: takes the page's address once it can be opened.
        browser: whether to open it.

    Raises:
        UnsupportedError: the extra `ui` is not installed.
        ServerError: the address can't be listened at.
    """
    need("ui", "starlette", "uvicorn")
    import uvicorn

    with _listening(host, port) as bound:
        config = uvicorn.Config(
            application(upstream, host),
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_S,
        )
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        shown = f"[{shown}]" if ":" in shown else shown
        address = f"http://{shown}:{bound.getsockname()[1]}/"
        announce(address)
        if browser and _has_screen():
            # Some browsers are waited for.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        uvicorn.Server(config).run(sockets=[bound])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ServerError(
            f"the page can't be served at {host}:{port}: {error.strerror or error}",
            "choose another --port; --port 0 takes any that is free",
        ) from error


def _has_screen() -> bool:
    """Whether a browser would have a window; one in the terminal is not what is wanted."""
    if sys.platform in ("darwin", "win32"):
        return True
    with suppress(webbrowser.Error):
        return bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)) and bool(webbrowser.get())
    return False
