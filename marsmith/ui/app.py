"""The page's own server: its files, and the few routes through which the page asks the models."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from marsmith.errors import ArchiveError, MarsmithError, RequestError
from marsmith.ui.guard import REPORT_POLICY, Asgi, BrokenOffError, Guarded
from marsmith.ui.replies import answer, refusal
from marsmith.ui.upstream import DESCRIBED, VERBS, Upstream

if TYPE_CHECKING:
    import httpx
    from starlette.requests import Request
    from starlette.responses import Response

STATIC = Path(__file__).with_name("static")
SWAGGER = ("swagger-ui-bundle.js", "swagger-ui.css")
KINDS = ("inputs", "views")
"""Folders of modules, one for each way in or out: the page asks which there are."""
MOST_BYTES = 20_971_520
"""Of a request's body: TorchServe takes no more."""
SENT_ON = ("content-type", "accept", "x-request-id")
TOLD_BACK = ("content-type", "retry-after", "x-request-id")

Endpoint = Callable[["Request"], Awaitable["Response"]]


class Pages:
    """What is answered at each path.

    Args:
        upstream: the model server.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def server(self, _: Request) -> Response:
        """The models, how the server is reached, and the modules that the page is made of."""
        upstream = self._upstream
        names = await upstream.models()
        key = upstream.key_file and str(upstream.key_file)
        modules = {
            kind: sorted(path.name for path in (STATIC / kind).glob("*.js")) for kind in KINDS
        }
        models = [{"name": name, "up": await upstream.is_up(name)} for name in names]
        return answer({"address": upstream.address, "key": key, "models": models, **modules})

    async def model(self, request: Request) -> Response:
        """What one model takes and answers."""
        return answer(await self._upstream.describe(request.path_params["name"]))

    async def ask(self, request: Request) -> Response:
        """Hand a request on to a model, and its answer back, piece by piece."""
        from starlette.responses import StreamingResponse

        verb = request.path_params["verb"]
        if verb not in VERBS:
            return refusal(404, f"there is no {verb!a} here", f"there is: {', '.join(VERBS)}")
        body = await bounded(request)
        if body is None:
            return refusal(413, f"at most {MOST_BYTES} bytes are allowed", "send less at once")
        headers = sent_on(request)
        version = request.query_params.get("version", "")
        began = time.perf_counter()
        said = await self._upstream.ask(request.path_params["name"], verb, version, headers, body)
        told = told_back(said)
        told["Server-Timing"] = f"model;dur={(time.perf_counter() - began) * 1000:.2f}"
        return StreamingResponse(pieces(said), said.status_code, told)

    async def described(self, request: Request) -> Response:
        """Hand a request on to a path of the OpenAPI document, as it stands there."""
        from starlette.responses import StreamingResponse

        path = f"/{request.path_params['path']}"
        if not DESCRIBED.fullmatch(path):
            return refusal(404, "this path is not of the document", "see /api/openapi.json")
        body = await bounded(request)
        if body is None:
            return refusal(413, f"at most {MOST_BYTES} bytes are allowed", "send less at once")
        asked, headers = quote(path, safe="/:"), sent_on(request)
        said = await self._upstream.client.forward(request.method, asked, headers, body)
        return StreamingResponse(pieces(said), said.status_code, told_back(said))

    async def figures(self, _: Request) -> Response:
        """The server's figures, by model."""
        found = await self._upstream.figures()
        return answer({name: vars(each) for name, each in found.items()})

    async def document(self, _: Request) -> Response:
        """The OpenAPI document."""
        return answer(await self._upstream.document())

    async def report(self, request: Request) -> Response:
        """The report of the build that made what is served."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import FileResponse

        found = await run_in_threadpool(self._upstream.report, request.path_params["name"])
        if found is None:
            return refusal(404, "there is no report of this archive here", "see --model-store")
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return FileResponse(found, media_type="text/html", headers=headers)


def application(upstream: Upstream, listens_at: str) -> Asgi:
    """Make the page's server.

    Args:
        upstream: the model server.
        listens_at: the address that the page's server is bound to.
    """
    from starlette.applications import Starlette
    from starlette.responses import FileResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    def page(name: str, folder: Path = STATIC) -> Endpoint:
        async def answer(_: Request) -> Response:
            return FileResponse(folder / name)

        return answer

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await upstream.client.close()

    pages = Pages(upstream)
    inner = Starlette(
        routes=[
            Route("/", page("index.html")),
            Route("/docs", page("docs.html")),
            Route("/api/server", pages.server),
            Route("/api/figures", pages.figures),
            Route("/api/openapi.json", pages.document),
            Route("/api/described/{path:path}", pages.described, methods=["GET", "POST"]),
            Route("/api/models/{name}", pages.model),
            Route("/api/models/{name}/{verb}", pages.ask, methods=["POST"]),
            Route("/reports/{name}", pages.report),
            *(Route(f"/swagger/{name}", page(name, swagger())) for name in SWAGGER),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={MarsmithError: _refused},
        lifespan=lifespan,
    )
    return Guarded(inner, listens_at)


def swagger() -> Path:
    """The folder of Swagger UI's own files, in the package that brings them; none of it is run."""
    found = importlib.util.find_spec("swagger_ui")
    places = found and found.submodule_search_locations
    return Path(places[0] if places else ".") / "static"


def sent_on(request: Request) -> dict[str, str]:
    """The headers of a request that a model is sent, too."""
    return {name: request.headers[name] for name in SENT_ON if name in request.headers}


def told_back(said: httpx.Response) -> dict[str, str]:
    """The headers of a model's answer that its client is told, too."""
    said.headers.encoding = "latin-1"  # as they are sent on
    return {name: said.headers[name] for name in TOLD_BACK if name in said.headers}


async def bounded(request: Request) -> bytes | None:
    """Read a body; None if it is too large, as soon as that is known."""
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        return None
    found = bytearray()
    async for piece in request.stream():
        found += piece
        if len(found) > MOST_BYTES:
            return None
    return bytes(found)


async def pieces(said: httpx.Response) -> AsyncIterator[bytes]:
    """The body of an answer as it comes; who stops reading hangs up on the model, too.

    Raises:
        BrokenOffError: the model server broke off, or what it says can't be read.
    """
    import httpx

    try:
        async for piece in said.aiter_bytes():
            yield piece
    except httpx.HTTPError as error:
        raise BrokenOffError from error
    finally:
        await said.aclose()


async def _refused(_: Request, error: Exception) -> Response:
    status = 404 if isinstance(error, ArchiveError) else 502
    if isinstance(error, RequestError):
        status = error.status
    message = getattr(error, "message", str(error))
    return refusal(status, message, getattr(error, "hint", ""))
