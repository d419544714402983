"""Requests of a worker as a client would have sent them over HTTP."""

from __future__ import annotations

import httpx

from marsmith.harness.wire import Request

OF_TORCHSERVE = {"url_path", "explain", "content-length", "describe"}


def sent(request: Request, model: str) -> httpx.Request | None:
    """The request as it is sent; None where no client could have sent it."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    explain = headers.get("explain") == "True"
    path = f"http://server/{'explanations' if explain else 'predictions'}/{model}"
    left_out, kind = set(OF_TORCHSERVE), headers.get("content-type", "")
    form = kind.startswith("multipart/")
    if form:
        left_out.add("content-type")  # httpx writes the form anew, with a boundary of its own
    kept = [(n.encode(), v.encode()) for n, v in headers.items() if n not in left_out]
    if form:
        files = [
            (part.name, ("x" if part.content_type else None, part.value, part.content_type))
            for part in request.parameters
        ]
        return httpx.Request("POST", path, headers=kept, files=files)
    if [part.name for part in request.parameters] != ["body"]:
        return None
    return httpx.Request("POST", path, headers=kept, content=bytes(request.parameters[0].value))
