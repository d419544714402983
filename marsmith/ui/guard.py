"""Who may ask the page's server, and what the page may do in a browser.

The page's server has a key of the model server's, so no other site may ask through it: neither by
a request from its own page, nor by giving its own name this machine's address (DNS rebinding).

See: https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from marsmith.ui.replies import refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
# A report is a page of its own, whose styles and scripts are in it: it gets no origin, so that
# whatever is in it can't ask this server.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline';"
    " style-src 'unsafe-inline'; img-src data:"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Cache-Control": "no-cache",
}


def is_known(host: str, listens_at: str) -> bool:
    """Whether a request's `Host` is a name of this server that no other site can give itself.

    Args:
        host: the header, perhaps with a port.
        listens_at: the address that the server is bound to.
    """
    name = ""
    with suppress(ValueError):
        name = urlsplit(f"//{host}").hostname or ""
        address = ipaddress.ip_address(name)
        return address.is_loopback or not is_loopback(listens_at)
    return name == "localhost" or (
        not is_loopback(listens_at) and name in (listens_at, socket.gethostname().lower())
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def is_own(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from the page itself, or from no page at all.

    Args:
        headers: by their names in lower case.
    """
    try:
        origin = urlsplit(headers["origin"]).netloc if "origin" in headers else headers.get("host")
    except ValueError:  # such as "http://["
        return False
    if origin != headers.get("host"):
        return False
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none")


class BrokenOffError(Exception):
    """What an answer is made of has ended too early: its client is to see that, too."""


class Guarded:
    """An ASGI application behind these rules.

    Args:
        inner: the application.
        listens_at: the address that it is bound to.
    """

    def __init__(self, inner: Asgi, listens_at: str) -> None:
        self._inner, self._listens_at = inner, listens_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                added = ((name.lower().encode(), text.encode()) for name, text in HEADERS.items())
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in added if pair[0] not in there),
                ]
            await send(message)

        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        answer = self._inner
        if not is_known(headers.get("host", ""), self._listens_at):
            answer = refusal(421, "this server has no such name", "open it by its address")
        elif scope["path"] not in ("/", "/docs") and not is_own(headers):
            answer = refusal(403, "another site may not ask this server", "open its own page")
        with suppress(BrokenOffError):  # the connection is closed before the answer is whole
            await answer(scope, receive, send_with_headers)
