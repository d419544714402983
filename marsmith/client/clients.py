"""Clients of TorchServe's inference and management APIs; they send the tokens."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from marsmith.client.flows import Api, Flow, check_end, decoded, explained, pause_s, piece
from marsmith.errors import ServerError

if TYPE_CHECKING:
    from handlers.schema import Json

T = TypeVar("T")


def _trusted(ca: Path | None, certificate: Path | None) -> ssl.SSLContext | bool:
    if ca is None and certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=ca and str(ca))
    except OSError as error:
        raise ServerError(f"the certificates in {ca} can't be read: {error}") from error
    try:
        if certificate is not None:
            context.load_cert_chain(certificate)
    except OSError as error:
        raise ServerError(f"the certificate in {certificate} can't be read: {error}") from error
    return context


class Client:
    """Predictions and management of one server.

    Use it as a context manager; it keeps its connections open between calls. Every call has a
    timeout, because TorchServe lets a request wait for as long as its model has no live worker.

    Every call raises RequestError when the server refuses the request or fails at it, and
    ServerError when there is no answer.

    Args:
        inference_address: e.g. "http://127.0.0.1:8080", or "unix:/path/of/a/socket".
        management_address: the same; None where it can't be reached, as on another machine than
            the server's: `models`, `model` and `scale` are refused then.
        key_file: a file with a key, as `marsmith keys add --out` writes it, or a `key_file.json`;
            None for a server without keys.
        timeout_s: how long each part of one attempt may take: to connect, to send, to wait.
        ca: a PEM file with the certificates to trust, of a server with TLS; by default, those that
            the web is trusted by.
        certificate: a PEM file with this client's own certificate and key, for a server that asks
            for one.
        retries: how often what may be sent again is: a prediction, explanation or description
            that was refused with a time to come again (of 10 s at most; a 429, 502 or 503), or
            whose connection broke before it was answered.

    Raises:
        ServerError: the key file or a certificate can't be read.
    """

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
        # trust_env=False: a proxy meant for the internet must not get the tokens of a local server.
        mounts = {to: httpx.HTTPTransport(uds=path) for to, path in self._api.sockets.items()}
        self._http = httpx.Client(
            timeout=timeout_s, trust_env=False, mounts=mounts, verify=_trusted(ca, certificate)
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self,
        model: str,
        body: object,
        *,
        content_type: str | None = None,
        options: Mapping[str, object] | None = None,
        accept: str | None = None,
        fresh_connection: bool = False,
    ) -> Any:
        """Ask a model for a prediction.

        Args:
            model: its name.
            body: bytes travel as they are; any other value travels as JSON.
            content_type: of `body`; "application/json" unless body is bytes.
            options: of the model's task, e.g. {"top_k": 3}. They travel as `parameters` within a
                JSON body, and as form fields beside other bytes; TorchServe drops query parameters.
            accept: the media type of the answer, e.g. "image/png"; the answer is JSON where the
                task has no such answer.
            fresh_connection: open a connection for this request, and close it after.

        Returns:
            The answer, of a type that the model's task decides: decoded when it is JSON, text when
            it says so, bytes otherwise.
        """
        return self._run(
            self._api.ask(
                "predictions", model, body, content_type, options, accept, fresh_connection
            ),
            self._retries,
        )

    def stream(
        self,
        model: str,
        body: object,
        *,
        content_type: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Ask a model that writes text, and yield each piece as it comes.

        The arguments are those of `predict`. A caller that stops early hangs up.

        Yields:
            The `text` of each piece; the last one has the rest of the answer, too.
        """
        request = self._api.streaming(model, body, content_type, options)
        with explained(request, self._api.address(request), self._timeout_s):
            response = self._send(request, self._retries, stream=True)
            with closing(response):
                if response.is_error:
                    response.read()
                    decoded(response)
                last: dict[str, Json] = {}
                for line in filter(None, response.iter_lines()):
                    last = piece(line)
                    yield last
                check_end(last)

    def explain(
        self,
        model: str,
        body: object,
        *,
        content_type: str | None = None,
        options: Mapping[str, object] | None = None,
        accept: str | None = None,
    ) -> Any:
        """Ask a model to explain a prediction; the arguments are those of `predict`."""
        return self._run(
            self._api.ask("explanations", model, body, content_type, options, accept),
            self._retries,
        )

    def describe(self, model: str) -> dict[str, Json]:
        """Return what a model's own handler says about it, beside what `model` returns.

        The handler answers, so the request waits for a worker, as a prediction does.
        """
        return self._run(self._api.describe(model), self._retries)

    def models(self) -> list[str]:
        """Return the names of all registered models, sorted."""
        return self._run(self._api.models())

    def model(self, name: str) -> dict[str, Json]:
        """Return TorchServe's view of one model: its workers, batch size and timeouts."""
        return self._run(self._api.model(name))

    def scale(self, model: str, min_workers: int, max_workers: int) -> None:
        """Ask for another number of workers, without waiting for them to load."""
        self._run(self._api.scale(model, min_workers, max_workers))

    def _send(
        self, request: httpx.Request, retries: int, *, stream: bool = False
    ) -> httpx.Response:
        for attempt in range(retries):
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.send(request, stream=stream)
            except httpx.TransportError as error:
                outcome = error
            pause = pause_s(outcome, attempt)
            if isinstance(outcome, httpx.Response):
                if pause is None:
                    return outcome
                outcome.close()
            elif pause is None:
                raise outcome
            time.sleep(pause)
        return self._http.send(request, stream=stream)

    def _run(self, flow: Flow[T], retries: int = 0) -> T:
        try:
            request = next(flow)
            while True:
                with explained(request, self._api.address(request), self._timeout_s):
                    response = self._send(request, retries)
                request = flow.send(response)
        except StopIteration as done:
            result: T = done.value
            return result


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
            timeout=timeout_s, trust_env=False, mounts=mounts, verify=_trusted(ca, certificate)
        )

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
    ) -> Any:
        """See `Client.predict`."""
        return await self._run(
            self._api.ask(
                "predictions", model, body, content_type, options, accept, fresh_connection
            ),
            self._retries,
        )

    async def stream(
        self,
        model: str,
        body: object,
        *,
        content_type: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """See `Client.stream`."""
        request = self._api.streaming(model, body, content_type, options)
        with explained(request, self._api.address(request), self._timeout_s):
            response = await self._send(request, self._retries, stream=True)
            async with aclosing(response):
                if response.is_error:
                    await response.aread()
                    decoded(response)
                last: dict[str, Json] = {}
                async for line in response.aiter_lines():
                    if line:
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
    ) -> Any:
        """See `Client.explain`."""
        return await self._run(
            self._api.ask("explanations", model, body, content_type, options, accept),
            self._retries,
        )

    async def describe(self, model: str) -> dict[str, Json]:
        """See `Client.describe`."""
        return await self._run(self._api.describe(model), self._retries)

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
            return await self._send(request, 0, stream=True)

    async def models(self) -> list[str]:
        """See `Client.models`."""
        return await self._run(self._api.models())

    async def model(self, name: str) -> dict[str, Json]:
        """See `Client.model`."""
        return await self._run(self._api.model(name))

    async def scale(self, model: str, min_workers: int, max_workers: int) -> None:
        """See `Client.scale`."""
        await self._run(self._api.scale(model, min_workers, max_workers))

    async def _send(
        self, request: httpx.Request, retries: int, *, stream: bool = False
    ) -> httpx.Response:
        for attempt in range(retries):
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.send(request, stream=stream)
            except httpx.TransportError as error:
                outcome = error
            pause = pause_s(outcome, attempt)
            if isinstance(outcome, httpx.Response):
                if pause is None:
                    return outcome
                await outcome.aclose()
            elif pause is None:
                raise outcome
            await asyncio.sleep(pause)
        return await self._http.send(request, stream=stream)

    async def _run(self, flow: Flow[T], retries: int = 0) -> T:
        try:
            request = next(flow)
            while True:
                with explained(request, self._api.address(request), self._timeout_s):
                    response = await self._send(request, retries)
                request = flow.send(response)
        except StopIteration as done:
            result: T = done.value
            return result
