"""A client of TorchServe's inference and management APIs; it sends the tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
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
        timeout_s: how long each part of one attempt may take: to connect, to send, to wait. A call
            with a `deadline_s` may take that long in all, with its attempts and pauses.
        ca: a PEM file with the certificates to trust, of a server with TLS; by default, those that
            the web is trusted by.
        certificate: a PEM file with this client's own certificate and key, for a server that asks
            for one.
        retries: how often what may be sent again is: a prediction, explanation or description
            that was refused with a 429, 502 or 503, or whose connection broke before it was
            answered. It waits as long as the server says, if that is 10 s at most; where nothing
            is said, 0.25 s, then twice as long each time.

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
            timeout=timeout_s, trust_env=False, mounts=mounts, verify=trusted(ca, certificate)
        )

    @classmethod
    def local(cls, port: int | None = None, *, timeout_s: float = 60.0, retries: int = 2) -> Client:
        """Make a client of the server that runs on this machine, with its own user's key.

        Args:
            port: the server's; None if there is only one.
            timeout_s: see the class.
            retries: see the class.

        Raises:
            ServerError: there is none, or there are several and `port` is None.
        """
        return cls(*finding.addresses(finding.running(port)), timeout_s=timeout_s, retries=retries)

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
        deadline_s: float | None = None,
    ) -> Any:
        """Ask a model for a prediction.

        Args:
            model: its name.
            body: bytes, or a `Path` of a file, as they are; a PIL image; an array of NumPy's or a
                tensor; a str, which is text and never a path; or a dict, a list, a number, a bool
                or None, in which all of these may be. See `bodies.encode`.
            content_type: of `body`, where it isn't what the body tells.
            options: of the model's task, e.g. {"top_k": 3}. They travel as `parameters` within a
                JSON body, and as form fields beside other bytes; TorchServe drops query parameters.
            accept: the media type of the answer, e.g. "image/png"; the answer is JSON where the
                task has no such answer.
            fresh_connection: open a connection for this request, and close it after.
            deadline_s: how long the call may take in all; None for as long as `timeout_s` and
                `retries` allow.

        Returns:
            The answer, of a type that the model's task decides: decoded when it is JSON, text when
            it says so, bytes otherwise.

        Raises:
            MarsmithError: `body` is of no kind that travels.
        """
        return self._run(
            self._api.ask(
                "predictions", model, body, content_type, options, accept, fresh_connection
            ),
            self._patience(deadline_s),
        )

    def stream(
        self,
        model: str,
        body: object,
        *,
        content_type: str | None = None,
        options: Mapping[str, object] | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[Any]:
        """Ask a model that writes text, or speaks one, and yield each piece as it comes.

        The arguments are those of `predict`. A caller that stops early hangs up.

        Yields:
            Of what is written, objects with the `text` of each piece; the last one has the rest of
            the answer, too. Of what is spoken, the bytes of a WAV file.
        """
        request = self._api.streaming(model, body, content_type, options)
        patience = self._patience(deadline_s)
        with explained(request, self._api.address(request), patience.shortest_s):
            response = self._send(request, patience, stream=True)
            with closing(response):
                if response.is_error:
                    response.read()
                    decoded(response)
                if sounds(response):
                    for part in response.iter_bytes():
                        patience.check(request)
                        yield part
                    return
                last: dict[str, Json] = {}
                for line in filter(None, response.iter_lines()):
                    patience.check(request)
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
        deadline_s: float | None = None,
    ) -> Any:
        """Ask a model to explain a prediction; the arguments are those of `predict`."""
        return self._run(
            self._api.ask("explanations", model, body, content_type, options, accept),
            self._patience(deadline_s),
        )

    def describe(self, model: str) -> dict[str, Json]:
        """Return what a model's own handler says about it, beside what `model` returns.

        The handler answers, so the request waits for a worker, as a prediction does.
        """
        return self._run(self._api.describe(model), self._patience())

    def models(self) -> list[str]:
        """Return the names of all registered models, sorted."""
        return self._run(self._api.models())

    def model(self, name: str) -> dict[str, Json]:
        """Return TorchServe's view of one model: its workers, batch size and timeouts."""
        return self._run(self._api.model(name))

    def scale(self, model: str, min_workers: int, max_workers: int) -> None:
        """Ask for another number of workers, without waiting for them to load."""
        self._run(self._api.scale(model, min_workers, max_workers))

    def _patience(self, deadline_s: float | None = None) -> Patience:
        return Patience(self._timeout_s, self._retries, deadline_s)

    def _send(
        self, request: httpx.Request, patience: Patience, *, stream: bool = False
    ) -> httpx.Response:
        attempt = 0
        while True:
            patience.check(request)
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.send(request, stream=stream)
            except httpx.TransportError as error:
                outcome = error
            pause = patience.pause_s(outcome, attempt)
            if isinstance(outcome, httpx.Response):
                if pause is None:
                    return outcome
                outcome.close()
            elif pause is None:
                raise outcome
            time.sleep(pause)
            attempt += 1

    def _run(self, flow: Flow[T], patience: Patience | None = None) -> T:
        patience = patience or Patience(self._timeout_s, 0)
        try:
            request = next(flow)
            while True:
                with explained(request, self._api.address(request), patience.shortest_s):
                    response = self._send(request, patience)
                request = flow.send(response)
        except StopIteration as done:
            result: T = done.value
            return result
