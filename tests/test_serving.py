"""End to end: the digits archive in a real TorchServe, asked over HTTP."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.digits import held_out
from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo
from tests.support.answers import same
from tests.support.images import png_header
from tests.support.servers import authorization, pids, scraped

Answer = tuple[int, Any]


def nan_tensor() -> bytes:
    data = [float("nan")] * 64
    entry = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": data}
    return json.dumps({"inputs": [entry]}).encode()


JSON = "application/json"
BAD = {
    "undecodable bytes": (b"\x00\x01 this is no image", ""),
    "wrong type": (b'{"instances": [true]}', JSON),
    "NaN tensor": (nan_tensor(), JSON),
    "huge image": (png_header(50_000, 50_000), "image/png"),
    "empty body": (b"", "image/png"),
    "lone surrogate": (b'{"data": "\\ud800"}', JSON),
    "deep JSON": (b"[" * 50_000, JSON),
}


@pytest.fixture
def http(digits_server: ServerInfo) -> Iterator[httpx.Client]:
    with connect(digits_server) as client:
        yield client


def connect(info: ServerInfo, timeout: float = 60) -> httpx.Client:
    headers = {"Authorization": authorization(info)}
    limits = httpx.Limits(max_connections=64)
    return httpx.Client(
        base_url=info.inference_address, headers=headers, timeout=timeout, limits=limits
    )


def ask(http: httpx.Client, body: bytes, media_type: str = "", model: str = "digits") -> Answer:
    headers = {"Content-Type": media_type} if media_type else {}
    response = http.post(f"/predictions/{model}", content=body, headers=headers)
    return response.status_code, response.json()


def mixed_batches(info: ServerInfo, count: int) -> None:
    """Send batches of 8 with 1 to 7 bad items at once; check every answer."""
    chance = random.Random(0)
    images = [image for image, _ in held_out()]
    before = pids(info)
    with connect(info) as http, ThreadPoolExecutor(8) as pool:
        alone = {image: ask(http, image)[1] for image in images[:20]}
        batches = batch_count(info)
        for _ in range(count):
            bad = [(name, *BAD[name]) for name in chance.choices(list(BAD), k=chance.randint(1, 7))]
            good = [("good", image, "") for image in chance.choices(list(alone), k=8 - len(bad))]
            items = [*bad, *good]
            chance.shuffle(items)
            answers = list(pool.map(lambda item: ask(http, item[1], item[2], "wide"), items))
            for (name, body, _), (status, answer) in zip(items, answers, strict=True):
                if name == "good":
                    assert status == 200
                    assert same(answer, alone[body])
                else:
                    assert 400 <= status < 500, (name, status, answer)
                    assert set(answer) == {"error", "hint"}
    assert pids(info) == before
    assert batch_count(info) - batches <= 1.2 * count  # they really were batches of 8


def batch_count(info: ServerInfo) -> float:
    """How many batches `wide` has answered; every batch reports its time once.

    Metrics travel through the worker's output: what is there is read until no more comes.
    """

    def count() -> float:
        time.sleep(1)
        text = scraped(info)
        lines = [line for line in text.splitlines() if line.startswith("PreprocessTime_count")]
        return sum(float(line.split()[-1]) for line in lines if 'ModelName="wide"' in line)

    before, now = -1.0, count()
    while before < now:
        before, now = now, count()
    return now


def test_a_held_out_digit_gets_its_label(http: httpx.Client) -> None:
    image, label = held_out()[0]
    status, answer = ask(http, image)
    assert status == 200
    assert next(iter(answer)) == label
    assert len(answer) == 3  # the recipe's default


def test_bad_items_are_refused_alone(digits_server: ServerInfo) -> None:
    mixed_batches(digits_server, 15)


@pytest.mark.slow
def test_bad_items_are_refused_alone_in_two_hundred_batches(digits_server: ServerInfo) -> None:
    mixed_batches(digits_server, 200)


def test_all_protocols_say_the_same(http: httpx.Client) -> None:
    image, _ = held_out()[0]
    _, raw = ask(http, image, "image/png")
    text = base64.b64encode(image).decode()
    body = {"instances": [{"b64": text}, {"b64": text}], "parameters": {"top_k": 3}}
    v1 = http.post("/v1/models/digits:predict", json=body).json()
    assert all(same(answer, raw) for answer in v1["predictions"])
    entry = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    v2 = http.post("/v2/models/digits/infer", json={"id": "7", "inputs": [entry]}).json()
    assert (v2["model_name"], v2["id"]) == ("digits", "7")
    labels, scores = v2["outputs"]
    assert (labels["name"], labels["shape"], labels["datatype"]) == ("labels", [1, 3], "BYTES")
    assert same(dict(zip(labels["data"], scores["data"], strict=True)), raw)
    form = http.post(
        "/predictions/digits", files={"image": ("a.png", image, "image/png")}, data={"top_k": "1"}
    )
    assert list(form.json()) == list(raw)[:1]


def test_describe_has_an_example_that_is_answered(
    http: httpx.Client, digits_server: ServerInfo
) -> None:
    with server.client(digits_server) as client:
        described: Any = client.describe("digits")["customizedMetadata"]
    assert described["options"]["properties"]["top_k"]["minimum"] == 1
    example = described["example"]
    body = base64.b64decode(example["body_base64"])
    assert ask(http, body, example["content_type"])[0] == 200


def test_metrics_are_there_to_be_scraped(http: httpx.Client, digits_server: ServerInfo) -> None:
    ask(http, held_out()[0][0])
    ask(http, b"no image")
    deadline = time.monotonic() + 120
    wanted = ("PreprocessTime", "InferenceTime", "PostprocessTime", "Instances", "RefusedRequests")
    text = ""
    while time.monotonic() < deadline and not all(name in text for name in wanted):
        text = scraped(digits_server)
        time.sleep(0.1)
    assert [name for name in wanted if name not in text] == []


@pytest.mark.slow
def test_a_killed_worker_comes_back_and_nobody_waits_for_ever(
    digits_archive: Path, server_state: Path
) -> None:
    info = server.serve([digits_archive], port=0)
    image, label = held_out()[0]
    statuses: list[int] = []
    finished = threading.Event()

    def keep_asking() -> None:
        with connect(info, timeout=300) as http:
            while not finished.is_set():
                statuses.append(http.post("/predictions/digits", content=image).status_code)

    try:
        askers = [threading.Thread(target=keep_asking) for _ in range(16)]
        for asker in askers:
            asker.start()
        time.sleep(2)
        os.kill(pids(info)[0], signal.SIGKILL)
        time.sleep(8)
        finished.set()
        for asker in askers:
            asker.join(300)
            assert not asker.is_alive()
        assert set(statuses) <= {200, 500, 503, 507}
        server.scale(info, "digits", 1)  # waits until it is back
        with connect(info) as http:
            status, answer = ask(http, image)
        assert (status, next(iter(answer))) == (200, label)
    finally:
        finished.set()
        server.stop(info)


@pytest.mark.slow
def test_scaling_gives_ready_workers(digits_archive: Path, server_state: Path) -> None:
    info = server.serve([digits_archive], port=0)
    try:
        for number in (1, 2):
            server.scale(info, "digits", number)
            (model,) = server.status(info).models
            assert [worker.status for worker in model.workers] == ["READY"] * number
            workers = Path(info.temp_dir, "workers", "digits")
            assert workers.read_text() == str(number)
        with connect(info) as http:
            assert ask(http, held_out()[0][0])[0] == 200
    finally:
        server.stop(info)
