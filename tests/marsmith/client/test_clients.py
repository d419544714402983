"""The clients, against a real server."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from marsmith.client.asynchronous import AsyncClient
from marsmith.client.clients import Client
from marsmith.errors import MarsmithError, RequestError, ServerError
from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo


@pytest.fixture
def api(tiny_server: ServerInfo) -> Iterator[Client]:
    with server.client(tiny_server) as client:
        yield client


def test_predict_sends_and_decodes_json(api: Client) -> None:
    assert api.predict("tiny", {"é": [1, None]})["body"] == {"é": [1, None]}


def test_options_travel_beside_any_body(api: Client) -> None:
    options = {"top_k": 3, "label": "a b&é"}
    of_list = api.predict("tiny", [1, 2], options=options)
    assert of_list["body"] == {"data": [1, 2], "parameters": options}
    body = {"instances": [1], "parameters": {"threshold": 0.5}}
    of_object = api.predict("tiny", body, options=options)
    assert of_object["body"] == {"instances": [1], "parameters": {"threshold": 0.5, **options}}
    of_json = api.predict("tiny", b"[1]", content_type="application/json", options=options)
    assert of_json["body"] == {"data": [1], "parameters": options}
    of_bytes = api.predict("tiny", b"abc", content_type="image/png", options=options)
    assert of_bytes["fields"] == {"data": "abc", "top_k": "3", "label": "a b&é"}


def test_predict_sends_and_returns_bytes(api: Client) -> None:
    body = bytes(range(256))
    assert api.predict("tiny", body, content_type="application/octet-stream") == body


def test_a_fresh_connection_answers_too(api: Client) -> None:
    assert api.predict("tiny", [1], fresh_connection=True)["body"] == [1]


def test_the_handlers_own_error_comes_through(api: Client) -> None:
    with pytest.raises(RequestError) as caught:
        api.predict("tiny", {"refuse": True})
    error = caught.value
    assert (error.status, error.message, error.hint) == (422, "no such thing", "send another")


def test_the_fronts_own_error_comes_through(api: Client) -> None:
    with pytest.raises(RequestError, match="there is no model nothing") as caught:
        api.predict("nothing", {})
    assert (caught.value.status, caught.value.hint) == (404, "there are: tiny")


def test_models_and_their_descriptions(api: Client) -> None:
    assert api.models() == ["tiny"]
    assert api.model("tiny")["modelVersion"] == "1.0"
    described: Any = api.describe("tiny")["customizedMetadata"]
    assert described["example"]["body_base64"] == "e30="


def test_a_wrong_token_is_explained(tiny_server: ServerInfo, tmp_path: Path) -> None:
    keys = json.loads(tiny_server.key_file.read_text())
    keys["inference"]["key"] = "old"
    stale = tmp_path / "key_file.json"
    stale.write_text(json.dumps(keys))
    addresses = tiny_server.inference_address, tiny_server.management_address
    with Client(*addresses, stale) as client, pytest.raises(RequestError) as caught:
        client.predict("tiny", {})
    assert caught.value.status == 401
    assert "marsmith keys add" in caught.value.hint


def test_accept_and_the_verb_reach_the_handler(api: Client) -> None:
    predicted = api.predict("tiny", [1], accept="image/png")
    explained = api.explain("tiny", [1], accept="text/plain", options={"steps": 3})
    assert (predicted["accept"], predicted["explain"]) == ("image/png", "False")
    assert (explained["accept"], explained["explain"]) == ("text/plain", "True")
    assert explained["body"] == {"data": [1], "parameters": {"steps": 3}}


def test_the_asynchronous_client_takes_the_same() -> None:
    for name, method in inspect.getmembers(Client, inspect.isroutine):
        if not name.startswith("_") or name == "__init__":
            other = getattr(AsyncClient, name)
            assert inspect.signature(method).parameters == inspect.signature(other).parameters


def test_each_kind_of_body_arrives(api: Client, tmp_path: Path) -> None:
    (tmp_path / "said.txt").write_text("é")
    image, array = Image.new("L", (2, 2), 7), np.arange(4, dtype=np.float32)
    assert api.predict("tiny", "a text")["body"] == "a text"
    assert api.predict("tiny", "a text", options={"n": 1})["body"] == {
        "data": "a text", "parameters": {"n": 1},
    }  # fmt: skip
    assert api.predict("tiny", {"row": array})["body"] == {"row": [0, 1, 2, 3]}
    assert Image.open(io.BytesIO(api.predict("tiny", image))).getpixel((1, 1)) == 7
    for each in (array, torch.from_numpy(array)):
        assert np.array_equal(np.load(io.BytesIO(api.predict("tiny", each))), array)
    assert api.predict("tiny", tmp_path / "said.txt")["body"] == "é"
    with pytest.raises(MarsmithError, match="it may be bytes, a pathlib"):
        api.predict("tiny", object())


def test_a_refused_text_that_is_the_path_of_a_file_says_so(unsteady: Told, tmp_path: Path) -> None:
    file = tmp_path / "cat.jpg"
    file.touch()
    unsteady.told = [(400, {}), (400, {})]
    with Client(f"http://127.0.0.1:{unsteady.server_port}") as client:
        with pytest.raises(RequestError) as caught:
            client.predict("m", str(file))
        assert f"pathlib.Path({str(file)!r})" in caught.value.hint
        with pytest.raises(RequestError) as caught:
            client.predict("m", "no file")
        assert "Path" not in caught.value.hint


def test_the_local_server_is_found_with_its_key(tiny_server: ServerInfo) -> None:
    with Client.local(tiny_server.port) as client:
        assert client.predict("tiny", [1])["body"] == [1]
        assert client.models() == ["tiny"]

    async def ask() -> Any:
        async with AsyncClient.local(tiny_server.port) as client:
            return await client.predict("tiny", [1])

    assert asyncio.run(ask())["body"] == [1]
    with pytest.raises(ServerError, match=f"on port 1; there is: .*port {tiny_server.port} "):
        Client.local(1)


def test_without_a_server_there_is_no_local_one(own_state: Path) -> None:
    with pytest.raises(ServerError, match="no server of marsmith runs") as caught:
        Client.local()
    assert "marsmith serve" in caught.value.hint


def test_a_server_is_asked_itself(tiny_server: ServerInfo) -> None:
    running = server.running(tiny_server.port)
    assert running.predict("tiny", "x", options={"n": 1})["body"]["parameters"] == {"n": 1}
    assert running.predict("tiny", [2])["body"] == [2]
    with pytest.raises(RequestError, match="no such thing"):
        running.predict("tiny", {"refuse": True})


def test_the_asynchronous_client_says_the_same(tiny_server: ServerInfo) -> None:
    async def ask() -> None:
        addresses = tiny_server.inference_address, tiny_server.management_address
        async with AsyncClient(*addresses, tiny_server.key_file) as api:
            bodies = [[number] for number in range(8)]
            answers = await asyncio.gather(*(api.predict("tiny", body) for body in bodies))
            assert [answer["body"] for answer in answers] == bodies
            of_bytes = await api.predict("tiny", b"abc", options={"top_k": 3})
            assert of_bytes["fields"] == {"data": "abc", "top_k": "3"}
            explained = await api.explain("tiny", [1], accept="image/png")
            assert (explained["accept"], explained["explain"]) == ("image/png", "True")
            assert await api.models() == ["tiny"]
            assert (await api.model("tiny"))["modelVersion"] == "1.0"
            described: Any = (await api.describe("tiny"))["customizedMetadata"]
            assert "example" in described
            await api.scale("tiny", 1, 1)
            with pytest.raises(RequestError, match="no such thing"):
                await api.predict("tiny", {"refuse": True})

    asyncio.run(ask())


def test_the_asynchronous_client_tells_of_silence() -> None:
    async def ask() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
            async with AsyncClient(address, address, timeout_s=0.2) as api:
                await api.predict("tiny", {})

    with pytest.raises(ServerError, match=r"POST /predictions/tiny within 0\.2 s"):
        asyncio.run(ask())


def test_no_server_is_an_error_with_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with Client(address, address) as client, pytest.raises(ServerError, match=address):
            client.models()


def test_a_silent_server_is_an_error_after_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            Client(address, address, timeout_s=0.2) as client,
            pytest.raises(ServerError, match=r"within 0\.2 s"),
        ):
            client.predict("tiny", {})


@pytest.mark.parametrize("content", ["", "[]", '{"inference": 1}'])
def test_a_bad_key_file_is_an_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key_file.json"
    file.write_text(content)
    with pytest.raises(ServerError, match="not a key file"):
        Client("http://127.0.0.1:1", "http://127.0.0.1:1", file)


class Unsteady(BaseHTTPRequestHandler):
    """Answers what it is told to: a status, with its headers, or nothing at all."""

    protocol_version = "HTTP/1.1"
    server: Told

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        status, headers = self.server.told.pop(0)
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        """Be silent."""


class Told(ThreadingHTTPServer):
    told: list[tuple[int, dict[str, str]]]
    asked = 0


@pytest.fixture
def unsteady() -> Iterator[Told]:
    with Told(("127.0.0.1", 0), Unsteady) as started:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        yield started
        started.shutdown()


AGAIN = {"Retry-After": "0"}


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("told", "asked", "status"),
    [
        ([(503, AGAIN), (200, {})], 2, None),
        ([(0, {}), (200, {})], 2, None),
        ([(502, AGAIN), (429, AGAIN), (200, {})], 3, None),
        ([(503, AGAIN)] * 3, 3, 503),
        ([(503, {}), (200, {})], 2, None),  # it doesn't say when to come again
        ([(503, {"Retry-After": "60"})], 1, 503),
        ([(503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})], 1, 503),
        ([(500, AGAIN)], 1, 500),
    ],
)
def test_what_may_be_sent_again_is(
    unsteady: Told,
    told: list[tuple[int, dict[str, str]]],
    asked: int,
    status: int | None,
    asynchronous: bool,
) -> None:
    unsteady.told = list(told)
    address = f"http://127.0.0.1:{unsteady.server_port}"

    def ask() -> object:
        with Client(address) as client:
            return client.predict("m", [1])

    async def ask_asynchronously() -> object:
        async with AsyncClient(address) as client:
            return await client.predict("m", [1])

    refused: AbstractContextManager[Any] = (
        nullcontext() if status is None else pytest.raises(RequestError)
    )
    with refused as caught:
        assert (asyncio.run(ask_asynchronously()) if asynchronous else ask()) == []
    if caught is not None:
        assert caught.value.status == status
    assert unsteady.asked == asked


def test_nothing_is_sent_again_where_that_is_not_wanted(unsteady: Told) -> None:
    unsteady.told = [(503, AGAIN)]
    address = f"http://127.0.0.1:{unsteady.server_port}"
    with Client(address, retries=0) as client, pytest.raises(RequestError):
        client.predict("m", [1])
    assert unsteady.asked == 1
