"""TorchServe's inference and management APIs, without the sending: requests made, answers read.

Each function is a flow: it yields a request, is sent the response, and returns what it means. So
a client that waits and one that doesn't differ in nothing but how they send.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx

from marsmith.errors import RequestError, ServerError

T = TypeVar("T")
Flow = Generator[httpx.Request, httpx.Response, T]
Verb = Literal["predictions", "explanations"]

LOST_SERVER = "Is it still running? `marsmith status` tells; `marsmith serve` starts one."
BROKEN_OFF = "Does the model write text? If so, its worker may have died: the server's log tells."


class Api:
    """One server's APIs, with its tokens.

    Args:
        inference_address: e.g. "http://127.0.0.1:8080".
        management_address: e.g. "http://127.0.0.1:8081".
        key_file: the `key_file.json` that TorchServe wrote; None for a server without tokens.

    Raises:
        ServerError: the key file can't be read.
    """

    def __init__(
        self, inference_address: str, management_address: str, key_file: Path | None
    ) -> None:
        self._addresses = {
            "inference": inference_address.rstrip("/"),
            "management": management_address.rstrip("/"),
        }
        self._headers = _authorization(key_file)

    def ask(
        self,
        verb: Verb,
        model: str,
        body: Any,
        content_type: str | None,
        options: Mapping[str, Any] | None,
        headers: Mapping[str, str | None],
    ) -> Flow[Any]:
        """Ask a model; see `Client.predict`. Headers that are None are left out."""
        content = _content(body, content_type, options)
        sent = {name: value for name, value in headers.items() if value is not None}
        content["headers"] = {**content.get("headers", {}), **sent}
        path = f"/{verb}/{quote(model, safe='')}"
        answer = decoded((yield self._request("inference", "POST", path, **content)))
        if isinstance(answer, dict) and answer.keys() == {"error", "hint"}:
            # It took so long that its headers, a 200, had been sent before it failed.
            raise RequestError(500, str(answer["error"]), str(answer["hint"]))
        return answer

    def describe(self, model: str) -> Flow[dict[str, Any]]:
        """See `Client.describe`.

        Of a model that serves continuously the management API must not be asked: TorchServe puts
        the job back into its queue again and again, and its worker answers nothing else any more.
        Others are: what they answer there comes alone, never in a batch.
        """
        known = yield from self.model(model)
        if known.get("continuousBatching"):
            path, headers = f"/predictions/{quote(model, safe='')}", {"describe": "True"}
            said = decoded((yield self._request("inference", "POST", path, headers=headers)))
            return {**known, "customizedMetadata": said}
        params = {"customized": "true"}
        response = yield self._request("management", "GET", _models(model), params=params)
        return _only_object(decoded(response), f"the description of {model!r}")

    def streaming(
        self,
        model: str,
        body: Any,
        content_type: str | None,
        options: Mapping[str, Any] | None,
    ) -> httpx.Request:
        """The request of `Client.stream`."""
        content = _content(body, content_type, {**(options or {}), "stream": True})
        return self._request(
            "inference", "POST", f"/predictions/{quote(model, safe='')}", **content
        )

    def models(self) -> Flow[list[str]]:
        """See `Client.models`."""
        names: list[str] = []
        page: str | None = "0"
        while page is not None:
            params = {"limit": "100", "next_page_token": page}
            listing = decoded((yield self._request("management", "GET", _models(), params=params)))
            names += [entry["modelName"] for entry in listing["models"]]
            page = listing.get("nextPageToken")
        return sorted(names)

    def model(self, name: str) -> Flow[dict[str, Any]]:
        """See `Client.model`."""
        response = yield self._request("management", "GET", _models(name))
        return _only_object(decoded(response), f"model {name!r}")

    def scale(self, model: str, min_workers: int, max_workers: int) -> Flow[None]:
        """See `Client.scale`."""
        params = {"min_worker": min_workers, "max_worker": max_workers, "synchronous": "false"}
        decoded((yield self._request("management", "PUT", _models(model), params=params)))

    def _request(
        self,
        api: str,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> httpx.Request:
        sent = {**self._headers.get(api, {}), **(headers or {})}
        return httpx.Request(method, self._addresses[api] + path, headers=sent, **content)


@contextmanager
def explained(request: httpx.Request, timeout_s: float) -> Iterator[None]:
    """Say what it means that a request had no answer.

    Raises:
        ServerError: in the place of httpx's own.
    """
    url = request.url
    address = f"{url.scheme}://{url.netloc.decode()}"
    try:
        yield
    except httpx.TimeoutException as error:
        raise ServerError(
            f"{address} did not answer {request.method} {url.path} within {timeout_s:g} s.",
            hint="A request waits for as long as its model has no live worker."
            " `marsmith status` tells whether it has.",
        ) from error
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ServerError(f"{address} can't be reached: {reason}.", hint=LOST_SERVER) from error


def decoded(response: httpx.Response) -> Any:
    """What a response says.

    Returns:
        JSON data when it is JSON, text when it says so, bytes otherwise.

    Raises:
        RequestError: its status is an error's.
    """
    if response.status_code >= 400:
        raise _refusal(response)
    return _decode(response)


def piece(line: str) -> dict[str, Any]:
    """What a line of a stream says.

    Raises:
        RequestError: that no more comes, because something went wrong.
        ServerError: nothing that can be read.
    """
    said: Any = None
    with suppress(ValueError):
        said = json.loads(line)
    if not isinstance(said, dict):
        raise ServerError(f"A line of the stream is no piece: {line[:200]!r}.", hint=BROKEN_OFF)
    if "error" in said:
        raise RequestError(500, str(said["error"]), str(said.get("hint", "")))
    return said


def check_end(last: Mapping[str, Any]) -> None:
    """See that a stream is all there, by its last piece.

    Raises:
        ServerError: it is not a stream's last.
    """
    if "finish_reason" not in last:
        raise ServerError("The stream ended before its last piece.", hint=BROKEN_OFF)


def _models(name: str | None = None) -> str:
    return "/models" if name is None else f"/models/{quote(name, safe='')}"


def _authorization(key_file: Path | None) -> dict[str, dict[str, str]]:
    """Read the tokens: one header per API."""
    if key_file is None:
        return {}
    try:
        keys = json.loads(key_file.read_text(encoding="utf-8"))
        return {
            api: {"Authorization": f"Bearer {keys[api]['key']}"}
            for api in ("inference", "management")
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
    if isinstance(body, bytes) and options and _is_json(content_type):
        with suppress(ValueError):
            body = json.loads(body)
    if isinstance(body, bytes) and options:
        fields = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in options.items()
            if value is not None
        }
        part = ("data", body, content_type or "application/octet-stream")
        return {"files": {"data": part}, "data": fields}
    if not isinstance(body, bytes):
        if options:
            body = body if isinstance(body, dict) else {"data": body}
            body = {**body, "parameters": {**(body.get("parameters") or {}), **options}}
        body = json.dumps(body).encode()
        content_type = content_type or "application/json"
    headers = {"Content-Type": content_type} if content_type else {}
    return {"headers": headers, "content": body}


def _is_json(content_type: str | None) -> bool:
    return (content_type or "").partition(";")[0].strip().lower() == "application/json"


def _decode(response: httpx.Response) -> Any:
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
    body = _decode(response)
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
