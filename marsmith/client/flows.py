"""TorchServe's inference and management APIs, without the sending: requests made, answers read.

Each function is a flow: it yields a request, is sent the response, and returns what it means. So
the blocking client and the asynchronous one differ only in how they send.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar
from urllib.parse import quote

import httpx

from marsmith.client import bodies
from marsmith.errors import MarsmithError, RequestError, ServerError

if TYPE_CHECKING:
    from handlers.schema import Json

T = TypeVar("T")
Flow = Generator[httpx.Request, httpx.Response, T]
Verb = Literal["predictions", "explanations"]

LOST_SERVER = "see whether it runs with `marsmith status`; `marsmith serve` starts one"
UNIX = "unix:"
KEY = re.compile(r"[A-Za-z0-9_-]+")
STREAMS = "audio/wav, application/json;q=0.9"  # what answers piece by piece
BROKEN_OFF = "see the server's log: the worker may have died, or the model writes no text"


class Content(TypedDict, total=False):
    """What a request carries, as the arguments of httpx."""

    headers: Mapping[str, str]
    params: Mapping[str, str | int]
    content: bytes
    data: Mapping[str, str]
    files: Mapping[str, tuple[str, bytes, str]]


class Api:
    """One server's APIs, with its tokens.

    Args:
        inference_address: e.g. "http://127.0.0.1:8080", or "unix:/path/of/a/socket".
        management_address: the same; None where it can't be reached.
        key_file: a file with a key, or a `key_file.json`; None for a server without keys.

    Raises:
        ServerError: the key file can't be read.
    """

    def __init__(
        self, inference_address: str, management_address: str | None, key_file: Path | None
    ) -> None:
        self._addresses: dict[str, str] = {}
        self.sockets: dict[str, str] = {}
        """Unix sockets, by the addresses that stand for them in requests."""
        for api, address in (("inference", inference_address), ("management", management_address)):
            if address is not None:
                self._addresses[api] = address.rstrip("/")
                if address.startswith(UNIX):
                    self._addresses[api] = f"http://{api}.local"
                    self.sockets[self._addresses[api]] = address.removeprefix(UNIX)
        self._headers = _authorization(key_file)

    def address(self, request: httpx.Request) -> str:
        """Where a request goes, in words."""
        url = request.url
        address = f"{url.scheme}://{url.netloc.decode()}"
        return UNIX + self.sockets[address] if address in self.sockets else address

    def ask(
        self,
        verb: Verb,
        model: str,
        body: object,
        content_type: str | None,
        options: Mapping[str, object] | None,
        accept: str | None,
        fresh_connection: bool = False,
    ) -> Flow[Json | bytes]:
        """Ask a model; see `Client.predict`."""
        content = _content(body, content_type, options)
        headers = {"Accept": accept, "Connection": "close" if fresh_connection else None}
        sent = {name: value for name, value in headers.items() if value is not None}
        content["headers"] = {**content.get("headers", {}), **sent}
        path = f"/{verb}/{quote(model, safe='')}"
        response = yield self._request("inference", "POST", path, content)
        try:
            answer = decoded(response)
        except RequestError as error:
            raise _of_a_path(error, body) from None
        if isinstance(answer, dict) and answer.keys() == {"error", "hint"}:
            # It took so long that its headers, a 200, had been sent before it failed.
            raise RequestError(500, str(answer["error"]), str(answer["hint"]))
        return answer

    def describe(self, model: str) -> Flow[dict[str, Json]]:
        """See `Client.describe`.

        The management API must not be asked about a model that serves continuously: TorchServe puts
        the job back into its queue again and again, and the worker answers nothing else any more.
        It is asked about the others, because its requests are never put into a batch. Where it
        must or can't be asked, the front's path is, or without a front a prediction's.
        """
        known: dict[str, Json] = {"modelName": model}
        if "management" in self._addresses:
            known = yield from self.model(model)
        if "management" not in self._addresses or known.get("continuousBatching"):
            named = quote(model, safe="")
            response = yield self._request("inference", "GET", f"/descriptions/{named}")
            if response.status_code in (404, 405):  # there is no front
                asked = Content(headers={"describe": "True"})
                path = f"/predictions/{named}"
                response = yield self._request("inference", "POST", path, asked)
            return {**known, "customizedMetadata": decoded(response)}
        asked = Content(params={"customized": "true"})
        response = yield self._request("management", "GET", _models(model), asked)
        return _only_object(decoded(response), f"the description of {model!r}")

    def streaming(
        self,
        model: str,
        body: object,
        content_type: str | None,
        options: Mapping[str, object] | None,
    ) -> httpx.Request:
        """The request of `Client.stream`."""
        content = _content(body, content_type, {**(options or {}), "stream": True})
        content["headers"] = {**content.get("headers", {}), "Accept": STREAMS}
        return self._request("inference", "POST", f"/predictions/{quote(model, safe='')}", content)

    def forwarded(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> httpx.Request:
        """The request of `AsyncClient.forward`."""
        content: Content = {"headers": headers, "content": body}
        return self._request("inference", method, path, content)

    def models(self) -> Flow[list[str]]:
        """See `Client.models`."""
        names: list[str] = []
        page: str | None = "0"
        while page is not None:
            asked = Content(params={"limit": "100", "next_page_token": page})
            listing: Any = decoded((yield self._request("management", "GET", _models(), asked)))
            names += [entry["modelName"] for entry in listing["models"]]
            page = listing.get("nextPageToken")
        return sorted(names)

    def model(self, name: str) -> Flow[dict[str, Json]]:
        """See `Client.model`."""
        response = yield self._request("management", "GET", _models(name))
        return _only_object(decoded(response), f"model {name!r}")

    def scale(self, model: str, min_workers: int, max_workers: int) -> Flow[None]:
        """See `Client.scale`."""
        asked = Content(
            params={"min_worker": min_workers, "max_worker": max_workers, "synchronous": "false"}
        )
        decoded((yield self._request("management", "PUT", _models(model), asked)))

    def _request(
        self, api: str, method: str, path: str, content: Content | None = None
    ) -> httpx.Request:
        content = content or {}
        if api not in self._addresses:
            raise ServerError(
                f"this client knows no {api} address",
                hint="behind the front only the machine that serves can ask: `marsmith status`",
            )
        headers = {**self._headers.get(api, {}), **content.get("headers", {})}
        try:
            encoded = httpx.Headers(headers, encoding="latin-1")
        except UnicodeEncodeError as error:
            raise MarsmithError(
                f"a header can't say {ascii(error.object)[:60]}", "it takes the letters of Latin-1"
            ) from error
        whole: Content = {**content, "headers": encoded}
        return httpx.Request(method, self._addresses[api] + path, **whole)


@contextmanager
def explained(request: httpx.Request, address: str, timeout_s: float) -> Iterator[None]:
    """Explain why a request had no answer.

    Args:
        request: what was asked.
        address: where.
        timeout_s: how long it may take.

    Raises:
        ServerError: instead of httpx's own error.
    """
    url = request.url
    try:
        yield
    except httpx.TimeoutException as error:
        raise ServerError(
            f"{address} did not answer {request.method} {url.path} within {timeout_s:g} s",
            hint="see with `marsmith status` whether the model has a live worker: until it has one,"
            " a request waits",
        ) from error
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ServerError(f"{address} can't be reached: {reason}", hint=LOST_SERVER) from error


def decoded(response: httpx.Response) -> Json | bytes:
    """Decode a response.

    Returns:
        JSON data when it is JSON, text when it says so, bytes otherwise.

    Raises:
        RequestError: its status is 400 or more.
    """
    if response.status_code >= 400:
        raise _refusal(response)
    return _decode(response)


def piece(line: str) -> dict[str, Json]:
    """Decode a line of a stream.

    Raises:
        RequestError: the line says that something went wrong, and that no more comes.
        ServerError: the line can't be read.
    """
    said: object = None
    with suppress(ValueError):
        said = json.loads(line)
    if not isinstance(said, dict):
        raise ServerError(f"a line of the stream is not a piece: {line[:200]!r}", hint=BROKEN_OFF)
    if "error" in said:
        raise RequestError(500, str(said["error"]), str(said.get("hint", "")))
    return said


def sounds(response: httpx.Response) -> bool:
    """Whether a stream is sound: bytes as they come, whose end is that of the answer."""
    return str(response.headers.get("Content-Type", "")).startswith("audio/")


def check_end(last: Mapping[str, object]) -> None:
    """Check by its last piece that a stream is complete.

    Raises:
        ServerError: the piece is not the last of a stream.
    """
    if "finish_reason" not in last:
        raise ServerError("the stream ended before its last piece", hint=BROKEN_OFF)


def _models(name: str | None = None) -> str:
    return "/models" if name is None else f"/models/{quote(name, safe='')}"


def _authorization(key_file: Path | None) -> dict[str, dict[str, str]]:
    """Read the tokens: one header per API."""
    if key_file is None:
        return {}
    try:
        text = key_file.read_text(encoding="utf-8").strip()
        if KEY.fullmatch(text):  # a key alone, as `marsmith keys add --out` writes it
            return {"inference": {"Authorization": f"Bearer {text}"}}
        keys = json.loads(text)
        return {
            api: {"Authorization": f"Bearer {keys[api]['key']}"}
            for api in ("inference", "management")
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerError(
            f"{key_file} is not a key file ({type(error).__name__}: {error})",
            hint="take what `marsmith keys add --out` wrote, or a key_file.json of TorchServe",
        ) from error


def _content(
    body: object, content_type: str | None, options: Mapping[str, object] | None
) -> Content:
    """Encode a body and its options as they travel."""
    data, own = bodies.encode(body)
    kind = content_type or own
    if options and bodies.JSON in (own, kind.partition(";")[0].strip().lower()):
        data = bodies.with_options(data, options)
    elif options:
        fields = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in options.items()
            if value is not None
        }
        part = ("data", data, kind or "application/octet-stream")
        return {"files": {"data": part}, "data": fields}
    return {"headers": {"Content-Type": kind} if kind else {}, "content": data}


def _of_a_path(error: RequestError, body: object) -> RequestError:
    """A refusal of a text that is the path of a file: what was meant is said, not guessed."""
    if isinstance(body, str) and error.status < 500:
        with suppress(OSError, ValueError):
            if Path(body).is_file():
                hint = f"a str is text; to send the file: pathlib.Path({body!r})"
                return RequestError(error.status, error.message, hint)
    return error


def _decode(response: httpx.Response) -> Json | bytes:
    """Decode an answer by its content type; TorchServe labels bytes as JSON when unsure."""
    kind = response.headers.get("Content-Type", "application/json").partition(";")[0].strip()
    if kind.startswith("text/"):
        return response.text
    if kind != "application/json" and not kind.endswith("+json"):
        return response.content
    with suppress(ValueError):
        said: Json = response.json()
        return said
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
        hint = "read key_file.json again: each start of a server makes new keys"
    return RequestError(response.status_code, message or response.reason_phrase, hint)


def _only_object(answer: object, what: str) -> dict[str, Json]:
    """Unwrap TorchServe's list of one version."""
    if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], dict):
        return answer[0]
    raise ServerError(
        f"the server answered {what} with {str(answer)[:200]!r}, not with a list of one"
    )
