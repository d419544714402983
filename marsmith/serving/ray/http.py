"""One request of HTTP, and its answer, over ASGI."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from marsmith.harness.wire import Response
from marsmith.serving.ray import refusals

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
NEVER_KEPT = {  # as TorchServe says it
    "pragma": "no-cache",
    "cache-control": "no-cache; no-store, must-revalidate, private",
    "expires": "Thu, 01 Jan 1970 00:00:00 UTC",
}
IN_PARTS = "ts_stream_next"
"""TorchServe's own header, which says whether more of an answer follows."""


class Http:
    """One request of HTTP and its answer, as ASGI has them.

    Attributes:
        method: of the request.
        path: of the request, as the client has sent it, behind the application's own prefix.
        headers: of the request, with names in lower case.
        id: of the request; the client's, if it has one that can be used.
        begun: whether some of the answer has been sent.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._body: bytes | None = None
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        self.method: str = scope["method"]
        path = raw.partition(b"?")[0].decode("latin-1")
        self.path = path.removeprefix(scope.get("root_path", ""))
        self.headers = [
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in scope["headers"]
        ]
        given = self.all("x-request-id")
        usable = len(given) == 1 and ID.fullmatch(given[0])
        self.id = given[0] if usable else str(uuid.uuid4())
        self.begun = False

    def all(self, name: str) -> list[str]:
        """All headers of a name."""
        return [value for each, value in self.headers if each == name]

    def header(self, name: str) -> str:
        """The last header of a name; "" if there is none."""
        return (self.all(name) or [""])[-1]

    async def body(self, most: int) -> bytes:
        """Read the body, once.

        Raises:
            RefusedError: it is too large; its end isn't read then.
        """
        if self._body is not None:
            return self._body
        said = self.header("content-length")
        if said.isdecimal() and int(said) > most:
            raise refusals.too_large(int(said), most)
        parts, size, more = [], 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise refusals.too_large(size, most)
            more = message.get("more_body", False)
        self._body = b"".join(parts)
        return self._body

    async def say(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole answer."""
        await self._begin(status, {**headers, "content-length": str(len(body))})
        await self._send({"type": "http.response.body", "body": body})

    async def part(self, part: Response) -> None:
        """Send an answer, or a part of one that comes in parts."""
        if not self.begun:
            more = {n.lower(): v for n, v in part.headers.items() if n.lower() != IN_PARTS}
            kind = {"content-type": part.content_type} if part.content_type else {}
            headers = {**more, **kind, **NEVER_KEPT}
            if IN_PARTS not in part.headers:
                await self.say(part.status, headers, part.body)
                return
            await self._begin(part.status, headers)
        message = {"type": "http.response.body", "body": part.body}
        await self._send({**message, "more_body": part.more_follows})

    async def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.begun = True
        # Ray's proxy says the request's id, which it has made where the client had none.
        pairs = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})
