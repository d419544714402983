"""Requests to the page's own server, and what the model server behind it may say to them.

POST /api/models/tiny/predict
content-type: application/json

{"data": ...}

200
content-type: application/json

...
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from marsmith.ui.app import application
from marsmith.ui.guard import Asgi, Message
from marsmith.ui.upstream import Upstream
from tests.fuzz.messages import CONTROL, GAP, TOKEN
from tests.support.mutated_requests import edited, spoiled

KEY = "the-key-of-the-server"
ANSWER_S = 5.0
JSON = "content-type: application/json"
PATHS = ("/", "/docs", "/api/server", "/api/figures", "/api/openapi.json", "/api/models/tiny",
         "/api/models/tiny/predict?version=1.0", "/api/models/tiny/explain", "/reports/tiny",
         "/api/described/predictions/tiny", "/api/described/v2/models/tiny/infer",
         "/api/described/v1/models/tiny:predict", "/swagger/swagger-ui.css", "/static/style.css",
         "/static/..%2f..%2fapp.py", "/api/models/a%2F..%0d%0ab/predict")  # fmt: skip
HEADERS = ("host: localhost", "host: [::1]:8088", "origin: http://127.0.0.1:8088", "origin: null",
           "sec-fetch-site: cross-site", "content-length: 99999999", "accept: text/event-stream",
           "x-request-id: a", "range: bytes=0-", "if-none-match: x", "accept: größe")  # fmt: skip
BEHIND = ("transfer-encoding: chunked", "content-encoding: gzip", "retry-after: 1", "location: /x",
          "content-length: 3", "x-request-id: a")  # fmt: skip
METRICS = b'marsmith_requests_total{model="tiny",version="1.0",status="200"} 3.0\n'


def seeds() -> list[bytes]:
    listed = json.dumps({"data": [{"id": "tiny"}], "versions": ["1.0"]}).encode()
    example = {"content_type": "text/plain", "body_base64": "YQ=="}
    says = {"customizedMetadata": {"task": "tabular", "example": example, "options": {}}}
    answers = [listed, json.dumps(says).encode(), json.dumps([says]).encode(), METRICS]
    found = []
    for number, path in enumerate(PATHS):
        for answer in answers:
            method = "POST" if "models/tiny/" in path or "predict" in path else "GET"
            head = f"{method} {path}\nhost: 127.0.0.1:8088\n{JSON}"
            status = (200, 200, 404, 503)[number % 4]
            found.append(
                GAP.join((head.encode(), b'{"data": 1}', f"{status}\n{JSON}".encode(), answer))
            )
    return found


class Behind:
    """The model server: it says the same to everything."""

    said = b""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say it to one request, and hang up."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            _, _, rest = head.lower().partition(b"content-length: ")
            await reader.readexactly(int(rest.split(b"\r\n")[0] or 0) if rest else 0)
            writer.write(self.said)
            await writer.drain()
        finally:
            writer.close()


@cache
def _running() -> tuple[asyncio.AbstractEventLoop, Asgi, Behind]:
    loop, behind = asyncio.new_event_loop(), Behind()
    server = loop.run_until_complete(asyncio.start_server(behind.answer, "127.0.0.1", 0))
    port = server.sockets[0].getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="marsmith-fuzz-"))
    (folder / "key").write_text(KEY)
    address = f"http://127.0.0.1:{port}"
    upstream = Upstream.elsewhere(address, folder / "key", None, folder, ANSWER_S)
    return loop, application(upstream, "127.0.0.1"), behind


def run(data: bytes) -> None:
    """Ask the page's server, and check that it answers, and keeps the key to itself.

    Raises:
        AssertionError: it doesn't.
        Exception: what it wasn't made for.
    """
    loop, app, behind = _running()
    head, body, told, said = (*data.split(GAP, 3), b"", b"", b"")[:4]
    first, *lines = head.decode("latin-1").split("\n")
    method, _, target = first.partition(" ")
    path, _, query = re.sub(r"[^!-~]", "", target).partition("?")  # what is none, no server takes
    status, *others = CONTROL.sub("", told.decode("latin-1").replace("\n", "\t")).split("\t")
    behind.said = "\r\n".join([f"HTTP/1.1 {status} x", *others, "", ""]).encode("latin-1") + said
    pairs = (line.partition(": ") for line in lines)
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"), "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8088),
        "headers": [
            (name.lower().encode(), CONTROL.sub("", value).encode("latin-1"))
            for name, _, value in pairs if TOKEN.fullmatch(name)
        ],
    }  # fmt: skip
    sent = loop.run_until_complete(_answered(app, scope, body))
    starts = [each for each in sent if each["type"] == "http.response.start"]
    assert len(starts) == 1
    assert starts[0]["status"] != 500 or status == "500", sent
    whole = b"".join(each.get("body", b"") for each in sent) + repr(starts).encode()
    assert KEY.encode() not in whole.replace(data, b"")


async def _answered(app: Asgi, scope: dict[str, Any], body: bytes) -> list[Message]:
    sent: list[Message] = []
    given: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if given:
            return given.pop()
        await asyncio.sleep(ANSWER_S * 10)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def mutate(data: bytes, random_: random.Random) -> bytes:
    """Change what is asked, or what the model server says to that."""
    parts = data.split(GAP, 3)
    at = random_.randrange(len(parts))
    if at % 2 == 0:
        first, *lines = parts[at].split(b"\n")
        match random_.randrange(5):
            case 0:
                first = spoiled(bytearray(first or b"GET /"), random_)
            case 1 if at == 0:
                first = b"POST " + random_.choice(PATHS).encode()
            case 2 if lines:
                place = random_.randrange(len(lines))
                lines[place] = spoiled(bytearray(lines[place] or b"a: b"), random_)
            case 3 if lines:
                del lines[random_.randrange(len(lines))]
            case _:
                lines.append(random_.choice(BEHIND if at else HEADERS).encode("latin-1"))
        parts[at] = b"\n".join([first, *lines])
    elif parts[at][:1] in (b"{", b"[") and random_.random() < 0.8:
        try:
            parts[at] = json.dumps(edited(json.loads(parts[at]), random_)).encode()
        except ValueError:
            parts[at] = spoiled(bytearray(parts[at]), random_)
    else:
        parts[at] = spoiled(bytearray(parts[at] or b"x"), random_)
    return GAP.join(parts)
