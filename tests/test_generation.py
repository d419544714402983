"""Text written by a real TorchServe: over HTTP and gRPC, in batches and continuously."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml

from marsmith.client.asynchronous import AsyncClient
from marsmith.client.clients import Client
from marsmith.errors import RequestError, ServerError
from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.tune.variants import variant
from tests.support.changed_archives import CONFIG, contents
from tests.support.servers import authorization, pids, scraped
from tests.support.torchserve_grpc import Stubs

PROMPT, SHORT, LONG = "import this", 8, 3000
BATCHES = {"batchSize": 4, "maxWorkers": 1}
# Of one build, what serves it otherwise.
MODELS: dict[str, dict[str, Any]] = {
    "joined": {"batchSize": 2, "maxWorkers": 1, "continuousBatching": True},
    "batched": {**BATCHES, "maxBatchDelay": 100},
    "piped": {**BATCHES, "handler": {"grpc_streams": True}},
}


@pytest.fixture(scope="module")
def info(
    make_new_archive: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
    server_state: Path,
) -> Iterator[ServerInfo]:
    folder, given = tmp_path_factory.mktemp("generation"), make_new_archive("text_generation")
    handler = yaml.safe_load(contents(given)[CONFIG])["handler"]
    archives = []
    for name, said in MODELS.items():
        config = {**said, "handler": {**handler, **said.get("handler", {})}}
        archives.append(variant(given, name, config, folder))
    told: list[str] = []
    found = server.serve(archives, port=0, grpc=True, on_progress=told.append)
    assert sum("warmed up" in line for line in told) == len(MODELS)  # each told of its example
    try:
        yield found
    finally:
        server.stop(found)


@pytest.fixture
def client(info: ServerInfo) -> Iterator[Client]:
    with server.client(info, timeout_s=300) as found:
        yield found


def options(tokens: int) -> dict[str, Any]:
    return {"max_new_tokens": tokens}


@pytest.mark.parametrize("model", MODELS)
def test_pieces_come_while_it_is_written(info: ServerInfo, client: Client, model: str) -> None:
    whole = client.predict(model, PROMPT, options=options(400))
    pieces = list(client.stream(model, PROMPT, options=options(400)))
    assert len(pieces) > 3
    assert "".join(piece["text"] for piece in pieces) == whole["text"]
    assert {**pieces[-1], "text": whole["text"]} == whole
    assert all(list(piece) == ["text"] for piece in pieces[:-1])

    async def ask() -> list[dict[str, Any]]:
        addresses = info.inference_address, info.management_address, info.key_file
        async with AsyncClient(*addresses) as asked:
            said = asked.stream(model, PROMPT.encode(), options=options(400))
            return [piece async for piece in said]

    assert "".join(piece["text"] for piece in asyncio.run(ask())) == whole["text"]


@pytest.mark.parametrize("model", MODELS)
def test_what_is_refused_is_no_stream(client: Client, model: str) -> None:
    for body in ("\ud800", {"instances": ["a", "b"]}):
        with pytest.raises(RequestError) as caught:
            list(client.stream(model, body))
        assert caught.value.status == 422
    assert client.predict(model, PROMPT, options=options(3))["tokens"] == 3


def test_events_and_lines_say_what_they_are(info: ServerInfo) -> None:
    body = {"data": PROMPT, "parameters": {"stream": True, **options(300)}}
    url = f"{info.inference_address}/predictions/batched"
    for accept, media_type in (("text/event-stream", "text/event-stream"), ("*/*", "jsonlines")):
        headers = {"Authorization": authorization(info), "Accept": accept}
        with httpx.stream("POST", url, json=body, headers=headers, timeout=300) as response:
            assert media_type in response.headers["content-type"]
            lines = [line for line in response.iter_lines() if line]
        said = [json.loads(line.removeprefix("data: ")) for line in lines]
        assert said[-1]["finish_reason"] == "length"


def test_a_short_answer_doesnt_wait_for_a_long_one(client: Client) -> None:
    """In a batch it leaves early, continuously it joins late."""
    long = client.stream("joined", PROMPT, options=options(LONG))
    next(long)
    assert client.predict("joined", PROMPT, options=options(SHORT))["tokens"] == SHORT
    assert len(list(long)) > 3
    with ThreadPoolExecutor(2) as pool:
        stream = pool.submit(lambda: list(client.stream("batched", PROMPT, options=options(LONG))))
        whole = pool.submit(lambda: client.predict("batched", PROMPT, options=options(SHORT)))
        assert whole.result()["tokens"] == SHORT
        assert stream.result()[-1]["tokens"] == LONG


def test_a_whole_answer_may_take_long(client: Client) -> None:
    """Continuously its headers come early, so that TorchServe sees its client hang up."""
    for model in ("batched", "joined"):
        assert client.predict(model, PROMPT, options=options(LONG))["tokens"] == LONG


def test_who_hangs_up_stops_costing(info: ServerInfo, client: Client) -> None:
    before = answered(info)
    streams = [client.stream("joined", PROMPT, options=options(LONG)) for _ in range(2)]
    for each in streams:
        next(each)
    for each in streams:
        each.close()  # type: ignore[attr-defined]
    # Both slots are free again, or this would wait for one of them.
    assert client.predict("joined", PROMPT, options=options(SHORT))["tokens"] == SHORT
    assert answered(info) <= before + 1


def answered(info: ServerInfo) -> float:
    text = scraped(info)
    lines = [line for line in text.splitlines() if line.startswith("Instances")]
    return sum(float(line.split()[-1]) for line in lines if 'ModelName="joined"' in line)


@pytest.mark.parametrize("model", MODELS)
def test_grpc(info: ServerInfo, client: Client, model: str) -> None:
    """In pieces only where it is known to be safe; whole otherwise; and no worker ends of it."""
    before = pids(info)
    whole = client.predict(model, PROMPT, options=options(200))
    with grpc.insecure_channel(info.grpc_address) as channel:
        stubs = Stubs(channel)

        def ask(call: str, **parameters: Any) -> list[Any]:
            data = json.dumps({"data": PROMPT, "parameters": {**options(200), **parameters}})
            request = stubs.PredictionsRequest(model_name=model, input={"data": data.encode()})
            metadata = [("authorization", authorization(info))]
            answer = getattr(stubs, call)(request, metadata=metadata, timeout=300)
            answers = [answer] if call == "Predictions" else list(answer)
            return [json.loads(line) for each in answers for line in each.prediction.splitlines()]

        assert ask("Predictions") == [whole]
        pieces = ask("StreamPredictions", stream=True)
        assert "".join(piece["text"] for piece in pieces) == whole["text"]
        assert (len(pieces) > 1) == (model == "piped")
        if model != "piped":
            assert ask("Predictions", stream=True) == [whole]
    assert pids(info) == before


def test_a_continuous_model_has_one_worker_and_describes_itself(
    info: ServerInfo, client: Client
) -> None:
    for _ in range(3):
        described: Any = client.describe("joined")["customizedMetadata"]
        assert described["task"] == "text_generation"
    with pytest.raises(ServerError, match="must have one worker"):
        server.scale(info, "joined", 2)
    assert client.predict("joined", PROMPT, options=options(3))["tokens"] == 3
