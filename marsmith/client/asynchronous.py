"""The same client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from marsmith.client.certificates import trusted
from marsmith.client.flows import Api, Flow, check_end, decoded, explained, piece, sounds
from marsmith.client.patience import Patience
from marsmith.serving.host import finding

if TYPE_CHECKING:
    from handlers.schema import Json

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: the same calls with the same arguments, to be awaited."""

    def __init__(
        self,
        inference_address: str,
        management_address: str | None = None,
        key_file: Path | None = None,
        timeout_s: float = 60.0,
        ca: Path | None = None,
        certificate: Path | None = None,
        retries: int = 2,
    ) -> None:
        self._api = Api(inference_address, management_address, key_file)
        self._timeout_s, self._retries = timeout_s, retries
        mounts = {to: httpx.AsyncHTTPTransport(uds=path) for to, path in self._api.sockets.items()}
        self._http = httpx.AsyncClient(
            timeout=timeout_s, trust_env=False, mounts=mounts, verify=trusted(ca, certificate)
        )

    @classmethod
    def local(
        cls, port: int | None = None, *, timeout_s: float = 60.0, retries: int = 2
    ) -> AsyncClient:
        """See `Client.local`."""
        return cls(*finding.addresses(finding.running(port)), timeout_s=timeout_s, retries=retries)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(
        self,
        model: str,
        body: object,
        *,
        content_type: str | None = None,
        options: Mapping[str, object] | None = None,
        accept: str | None = None,
        fresh_connection: bool = False,
        deadline_s: float | None = None,
    ) -> Any:
        """See `Client.predict`."""
        return await self._run(
            self._api.ask(
                "predictions", model, body, content_type, options, accept, fresh_connection
            ),
            self._patience(deadline_s),
        )

    async def stream(
        self,
        model: str,
        body: object,
        *,
        content_type: str | None = None,
        options: Mapping[str, object] | None = None,
        deadline_s: float | None = None,
    ) -> AsyncIterator[Any]:
        """See `Client.stream`."""
        request = self._api.streaming(model, body, content_type, options)
        patience = self._patience(deadline_s)
        with explained(request, self._api.address(request), patience.shortest_s):
            response = await self._send(request, patience, stream=True)
            async with aclosing(response):
                if response.is_error:
                    await response.aread()
                    decoded(response)
                if sounds(response):
                    async for part in response.aiter_bytes():
                        patience.check(request)
                        yield part
                    return
                last: dict[str, Json] = {}
                async for line in response.aiter_lines():
                    if line:
                        patience.check(request)
                        last = piece(line)
                        yield last
                check_end(last)

    async def explain(
        self,
        model: str,
        body: object,
        *,
        content_type: str | None = None,
        options: Mapping[str, object] | None = None,
        accept: str | None = None,
        deadline_s: float | None = None,
    ) -> Any:
        """See `Client.explain`."""
        return await self._run(
            self._api.ask("explanations", model, body, content_type, options, accept),
            self._patience(deadline_s),
        )

    async def describe(self, model: str) -> dict[str, Json]:
        """See `Client.describe`."""
        return await self._run(self._api.describe(model), self._patience())

    async def forward(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> httpx.Response:
        """Send a request as it is, with the key of this client, and never again.

        Args:
            method: such as "POST".
            path: of the inference API, such as "/predictions/digits".
            headers: of the request, beside the key.
            body: as it travels.

        Returns:
            The answer, whatever its status, whose body is still to be read: close it afterwards.
        """
        request = self._api.forwarded(method, path, headers or {}, body)
        with explained(request, self._api.address(request), self._timeout_s):
            return await self._send(request, Patience(self._timeout_s, 0), stream=True)

    async def models(self) -> list[str]:
        """See `Client.models`."""
        return await self._run(self._api.models())

    async def model(self, name: str) -> dict[str, Json]:
        """See `Client.model`."""
        return await self._run(self._api.model(name))

    async def scale(self, model: str, min_workers: int, max_workers: int) -> None:
        """See `Client.scale`."""
        await self._run(self._api.scale(model, min_workers, max_workers))

    def _patience(self, deadline_s: float | None = None) -> Patience:
        return Patience(self._timeout_s, self._retries, deadline_s)

    async def _send(
        self, request: httpx.Request, patience: Patience, *, stream: bool = False
    ) -> httpx.Response:
        attempt = 0
        while True:
            patience.check(request)
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.send(request, stream=stream)
            except httpx.TransportError as error:
                outcome = error
            pause = patience.pause_s(outcome, attempt)
            if isinstance(outcome, httpx.Response):
                if pause is None:
                    return outcome
                await outcome.aclose()
            elif pause is None:
                raise outcome
            await asyncio.sleep(pause)
            attempt += 1

    async def _run(self, flow: Flow[T], patience: Patience | None = None) -> T:
        patience = patience or Patience(self._timeout_s, 0)
        try:
            request = next(flow)
            while True:
                with explained(request, self._api.address(request), patience.shortest_s):
                    response = await self._send(request, patience)
                request = flow.send(response)
        except StopIteration as done:
            result: T = done.value
            return result
