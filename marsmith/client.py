"""A client of TorchServe's inference and management APIs, with the tokens looked after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote

import httpx

from marsmith.errors import RequestError, ServerError

Api = Literal["inference", "management"]

LOST_SERVER = "Is it still running? `marsmith status` tells; `marsmith serve` starts one."


class Client:
    """Predictions and management of one server.

    Use it as a context manager; it keeps its connections open between calls. Every call has a
    timeout, because TorchServe lets a request wait for as long as its model has no live worker.

    Args:
        inference_address: e.g. "http://127.0.0.1:8080".
        management_address: e.g. "http://127.0.0.1:8081".
        key_file: the `key_file.json` that TorchServe wrote; None for a server without tokens.
        timeout_s: how long one call may take, unless the call says otherwise.

    Raises:
        ServerError: the key file can't be read.
    """

    def __init__(
        self,
        inference_address: str,
        management_address: str,
        key_file: Path | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._addresses: dict[Api, str] = {
            "inference": inference_address.rstrip("/"),
            "management": management_address.rstrip("/"),
        }
        self._headers = _authorization(key_file)
        # trust_env=False: a proxy meant for the internet must not get the tokens of a local server.
        self._http = httpx.Client(timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self,
        model: str,
        body: Any,
        *,
        content_type: str | None = None,
        options: Mapping[str, Any] | None = None,
        fresh_connection: bool = False,
    ) -> Any:
        """Ask a model for a prediction.

        Args:
            model: its name.
            body: bytes travel as they are; anything else travels as JSON.
            content_type: of `body`; "application/json" unless body is bytes.
            options: of the model's task, e.g. {"top_k": 3}. They travel as `parameters` within a
                JSON body, and as form fields beside other bytes; TorchServe drops query parameters.
            fresh_connection: use a connection of its own, and close it.

        Returns:
            The answer: decoded when it is JSON, text when it says so, bytes otherwise.

        Raises:
            RequestError: the server refused the request or failed at it.
            ServerError: no answer.
        """
        content = _content(body, content_type, options)
        if fresh_connection:
            content.setdefault("headers", {})["Connection"] = "close"
        return self._call("inference", "POST", f"/predictions/{quote(model, safe='')}", **content)

    def describe(self, model: str) -> dict[str, Any]:
        """Return what a model's own handler says about it, beside what `model` returns.

        It is the handler that answers, so it waits for a worker, as a prediction does.
        """
        found = self._call("management", "GET", _models(model), params={"customized": "true"})
        return _only_object(found, f"the description of {model!r}")

    def models(self) -> list[str]:
        """Return the names of all registered models, sorted."""
        names: list[str] = []
        page: str | None = "0"
        while page is not None:
            params = {"limit": "100", "next_page_token": page}
            listing = self._call("management", "GET", _models(), params=params)
            names += [entry["modelName"] for entry in listing["models"]]
            page = listing.get("nextPageToken")
        return sorted(names)

    def model(self, name: str) -> dict[str, Any]:
        """Return TorchServe's view of one model: its workers, batch size and timeouts."""
        return _only_object(self._call("management", "GET", _models(name)), f"model {name!r}")

    def scale(self, model: str, min_workers: int, max_workers: int) -> None:
        """Ask for another number of workers, without waiting for them to load."""
        params = {"min_worker": min_workers, "max_worker": max_workers, "synchronous": "false"}
        self._call("management", "PUT", _models(model), params=params)

    def _call(
        self,
        api: Api,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> Any:
        address = self._addresses[api]
        sent = {**self._headers.get(api, {}), **(headers or {})}
        try:
            response = self._http.request(method, address + path, headers=sent, **content)
        except httpx.TimeoutException as error:
            limit = self._http.timeout.read
            raise ServerError(
                f"{address} did not answer {method} {path} within {limit:g} s.",
                hint="A request waits for as long as its model has no live worker."
                " `marsmith status` tells whether it has.",
            ) from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            message = f"{address} can't be reached: {reason}."
            raise ServerError(message, hint=LOST_SERVER) from error
        if response.status_code >= 400:
            raise _refusal(response)
        return _decoded(response)


def _models(name: str | None = None) -> str:
    return "/models" if name is None else f"/models/{quote(name, safe='')}"


def _authorization(key_file: Path | None) -> dict[Api, dict[str, str]]:
    """Read the tokens: one header per API."""
    if key_file is None:
        return {}
    try:
        keys = json.loads(key_file.read_text(encoding="utf-8"))
        return {
            "inference": {"Authorization": f"Bearer {keys['inference']['key']}"},
            "management": {"Authorization": f"Bearer {keys['management']['key']}"},
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerError(
            f"{key_file} is not a key file of TorchServe ({type(error).__name__}: {error}).",
            hint="TorchServe writes key_file.json into the folder that it is started in.",
        ) from error


def _content(
    body: Any, content_type: str | None, options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Put a body and its options the way that they travel, as arguments of httpx."""
    if isinstance(body, bytes) and options and content_type == "application/json":
        with suppress(ValueError):
            body = json.loads(body)
    if isinstance(body, bytes) and options:
        fields = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in options.items()
        }
        part = ("data", body, content_type or "application/octet-stream")
        return {"files": {"data": part}, "data": fields}
    if not isinstance(body, bytes):
        if options:
            body = body if isinstance(body, dict) else {"data": body}
            body = {**body, "parameters": {**body.get("parameters", {}), **options}}
        body = json.dumps(body).encode()
        content_type = content_type or "application/json"
    headers = {"Content-Type": content_type} if content_type else {}
    return {"headers": headers, "content": body}


def _decoded(response: httpx.Response) -> Any:
    """Decode an answer by its content type; TorchServe labels bytes as JSON when unsure."""
    kind = response.headers.get("Content-Type", "application/json").partition(";")[0].strip()
    if kind.startswith("text/"):
        return response.text
    if kind != "application/json" and not kind.endswith("+json"):
        return response.content
    try:
        return response.json()
    except ValueError:
        return response.content


def _refusal(response: httpx.Response) -> RequestError:
    """Turn an error answer into an error: a handler's own body, or TorchServe's."""
    body = _decoded(response)
    message, hint = "", ""
    if isinstance(body, dict):
        message = str(body.get("error") or body.get("message") or "")
        hint = str(body.get("hint") or "")
    elif body:
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
        message = text.strip()[:500]
    if "token" in message.lower() and not hint:
        hint = "Each start of a server makes new keys: read its key_file.json again."
    return RequestError(response.status_code, message or response.reason_phrase, hint)


def _only_object(answer: Any, what: str) -> dict[str, Any]:
    """Unwrap TorchServe's list of one version."""
    if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], dict):
        return answer[0]
    raise ServerError(f"The server answered {what} with {str(answer)[:200]!r}, not a list of one.")
