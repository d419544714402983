"""What speaks to clients: all routes of the front before a TorchServe, as one ASGI application.

`haproxy.cfg.j2` says the same for a single server, in the same order.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marsmith.harness.wire import Parameter, Request
from marsmith.serving.front import metadata
from marsmith.serving.front.configuration import BUFFER_BYTES, FORM, OPENAI_HEADER, SERVER
from marsmith.serving.ray import refusals
from marsmith.serving.ray.access import Access
from marsmith.serving.ray.asking import Replicas
from marsmith.serving.ray.condition import Condition
from marsmith.serving.ray.http import Http, Receive, Scope, Send
from marsmith.serving.ray.paths import UNKNOWN, AskedPath
from marsmith.serving.ray.refusals import RefusedError
from marsmith.serving.ray.served import Served
from marsmith.serving.ray.split import Beside, Split

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

logger = logging.getLogger("ray.serve")
READS, SENDS = ("GET", "HEAD"), ("POST", "PUT")
FORMS = ("multipart/", "application/x-www-form-urlencoded")
# What handlers learn from the server, and not from a client.
NOT_A_CLIENTS = ("authorization", "describe", "explain", "url_path", "x-form-type", OPENAI_HEADER)
JSON = {"content-type": "application/json"}


class Ingress:
    """Speaks to clients.

    Args:
        models: what is served.
        handles: Ray's, of their deployments, by name.
        keys: where keys are kept; nowhere: no request needs one.
    """

    def __init__(
        self,
        models: Sequence[Served],
        handles: Mapping[str, DeploymentHandle],
        keys: tuple[Path, ...],
    ) -> None:
        self._condition = Condition([each.name for each in models])
        self._models = {
            each.name: Replicas(each, handles[each.name], self._condition) for each in models
        }
        self._access = Access(*keys) if keys else None
        self._splits: dict[str, Split] = {}
        self._metadata: dict[str, bytes] = {}
        self._began = int(time.time())
        self._names = ", ".join(self._models)

    def __serve_build_asgi_app__(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """What Ray asks; a function, because uvicorn takes a method for an older protocol."""

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await self.answer(scope, receive, send)

        return application

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an ASGI application."""
        if scope["type"] != "http":
            await (self._live(receive, send) if scope["type"] == "lifespan" else _close(send))
            return
        http = Http(scope, receive, send)
        asked = AskedPath.of(http.path)
        try:
            await self._answer(http, asked)
        except RefusedError as refusal:
            if not http.begun:
                body = refusal.body(openai=asked.openai is not None)
                await http.say(refusal.status, {**refusal.headers, **JSON}, body)
        except Exception:
            if http.begun:
                raise
            logger.exception("a request for %s failed", http.path)
            said = {"error": "the front failed", "hint": "tell whoever runs this server"}
            await http.say(500, JSON, json.dumps(said).encode())

    async def reconfigure(self, said: Mapping[str, Mapping[str, Any]]) -> None:
        """Take what is told of new versions, by the names of their models; Ray calls this.

        Args:
            said: the fields of `Beside`; who isn't there has none.
        """
        from ray import serve

        for name in [name for name in self._splits if name not in said]:
            self._splits.pop(name).end()
        for name, fields in said.items():
            beside = Beside(**fields)
            if name not in self._splits:
                served = await asyncio.to_thread(Served.of, beside.archive)
                handle = serve.get_deployment_handle(name, beside.application)
                self._splits[name] = Split(self._models[name], served, handle, beside)
            self._splits[name].said = beside

    def close(self) -> None:
        """End what this has started."""

    async def _live(self, receive: Receive, send: Send) -> None:
        watching = None
        while True:
            what = (await receive())["type"]
            if what == "lifespan.startup":
                watching = asyncio.create_task(self._condition.watch())
            elif watching:
                watching.cancel()
                await asyncio.to_thread(self.close)
            await send({"type": f"{what}.complete"})
            if what == "lifespan.shutdown":
                return

    async def _answer(self, http: Http, asked: AskedPath) -> None:
        reads, sends = http.method in READS, http.method in SENDS
        if reads and (said := await self._health(asked)):
            await http.say(*said)
            return
        if self._access:
            self._access.check(http.all("authorization"), asked.verb)
        if asked.openai and not asked.own:
            model = _named(await self._body(http, None), http.header("content-type"))
            asked = replace(asked, model=model) if sends else asked
        if asked.verb == UNKNOWN:
            raise refusals.no_path()
        if asked.verb in ("predict", "explain") and not sends:
            raise refusals.no_method(http.method, "POST,PUT")
        if asked.verb not in ("predict", "explain") and not reads:
            raise refusals.no_method(http.method, "GET,HEAD")
        if asked.openai and not asked.own and not asked.model:
            raise refusals.unnamed(BUFFER_BYTES // 1024)
        if asked.verb == "models":
            await http.say(200, JSON, self._list())
            return
        if asked.verb == "metrics":
            raise refusals.no_metrics()
        await self._ask(http, asked)

    async def _ask(self, http: Http, asked: AskedPath) -> None:
        replicas = self._models.get(asked.model)
        if replicas is None:
            raise refusals.no_model(asked.model, f"there are: {self._names}")
        if split := self._splits.get(asked.model):
            await split.answer(http, asked, partial(self._request, http, asked))
            return
        request = await self._request(http, asked, replicas)
        async with aclosing(replicas.ask(request)) as parts:
            async for part in parts:
                await http.part(part)

    async def _request(self, http: Http, asked: AskedPath, replicas: Replicas) -> Request:
        """What a model's worker is sent.

        Raises:
            RefusedError: the model doesn't take that.
        """
        plan = replicas.served.plan
        if asked.version is not None and asked.version != plan.version:
            raise refusals.no_version(plan.name, asked.version, plan.version)
        if asked.verb == "describe" and not plan.reads_forms:
            raise refusals.not_described(plan.name)
        if asked.openai and not plan.speaks_openai:
            raise refusals.not_openai(plan.name)
        body = await self._body(http, plan.max_body_bytes)
        return _request(http, asked, body, reads_forms=plan.reads_forms)

    async def _body(self, http: Http, most: int | None) -> bytes:
        if most is None:
            most = max(each.served.plan.max_body_bytes for each in self._models.values())
        return await http.body(most)

    async def _health(self, asked: AskedPath) -> tuple[int, dict[str, str], bytes] | None:
        """What is told to whoever asks, without a key; None if this is not about health."""
        ready = self._condition.all_up
        again = {} if ready else refusals.RETRY
        match asked.verb:
            case "live":
                return 200, JSON, b'{"live": true}'
            case "ready":
                said = json.dumps({"ready": ready})
                return 200 if ready else 503, {**JSON, **again}, said.encode()
            case "ping":
                said = json.dumps({"status": "Healthy" if ready else "Unhealthy"})
                return 200 if ready else 503, {**JSON, **again}, said.encode()
            case "server":
                return 200, JSON, json.dumps(SERVER).encode()
            case "model_ready" | "v1_ready" | "metadata":
                return await self._model_health(asked)
        return None

    async def _model_health(self, asked: AskedPath) -> tuple[int, dict[str, str], bytes]:
        replicas, name = self._models.get(asked.model), asked.model
        if replicas is None:
            raise refusals.no_model(name, "ask with a key for those that there are")
        there = replicas.served.plan.version
        if asked.version is not None and asked.version != there:
            raise refusals.no_version(name, asked.version, there, health=True)
        if asked.verb == "metadata":
            if name not in self._metadata:
                self._metadata[name] = await self._describe(replicas)
            return 200, JSON, self._metadata[name]
        if self._condition.up(name):
            said = {"name": name, "ready": True, "id": name, **self._made()}
            return 200, JSON, json.dumps(said).encode()
        said = {"name": name, "ready": False}
        return 503, {**JSON, **refusals.RETRY}, json.dumps(said).encode()

    async def _describe(self, replicas: Replicas) -> bytes:
        """A model's metadata, of what its handler says of itself."""
        if not self._condition.up(replicas.served.name):
            raise refusals.down(replicas.served.name)
        loop, plan = asyncio.get_running_loop(), replicas.served.plan

        async def ask(request: Request) -> Any:
            async with aclosing(replicas.ask(request)) as parts:
                body = b"".join([part.body async for part in parts])
            return json.loads(body)

        def predict(said: object) -> object:
            return asyncio.run_coroutine_threadsafe(ask(Request.json(said)), loop).result()

        described = await ask(Request.describe()) if plan.reads_forms else {}
        found = await asyncio.to_thread(metadata.of, plan, described, predict)
        return json.dumps(found, separators=(",", ":")).encode()

    def _list(self) -> bytes:
        """The models as OpenAI lists them."""
        speak = [name for name, each in self._models.items() if each.served.plan.speaks_openai]
        data = [{"id": name, **self._made()} for name in speak]
        return json.dumps({"object": "list", "data": data}).encode()

    def _made(self) -> dict[str, object]:
        return {"object": "model", "created": self._began, "owned_by": SERVER["name"]}


async def _close(send: Send) -> None:
    """Refuse a web socket."""
    await send({"type": "websocket.close"})


def _request(http: Http, asked: AskedPath, body: bytes, *, reads_forms: bool) -> Request:
    """What a worker is sent: what TorchServe's frontend would send, behind our front."""
    if asked.verb == "describe":
        return Request.describe()
    headers = {name: value for name, value in http.headers if name not in NOT_A_CLIENTS}
    kind = headers.get("content-type", "")
    if kind.lower().startswith(FORMS):
        if not reads_forms:
            raise refusals.no_forms(asked.model)
        headers |= {"x-form-type": kind, "content-type": "application/octet-stream"}
    if asked.openai:
        headers[OPENAI_HEADER] = asked.openai
    headers |= {"x-request-id": http.id, "url_path": ""}
    headers["explain"] = str(asked.verb == "explain")
    part = Parameter("body", body, headers.get("content-type", "").split(";", 1)[0])
    return Request((part,), headers)


def _named(body: bytes, kind: str) -> str:
    """The model that a body names, as OpenAI's clients do: in JSON, or in a field of a form."""
    if kind.lower().startswith("multipart/"):
        text = body[:BUFFER_BYTES].decode("latin-1")
        found = (re.search(pattern, text) for pattern in FORM)
        return next((match[1] for match in found if match), "")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    model = said.get("model") if isinstance(said, dict) else None
    return model if isinstance(model, str) else ""
