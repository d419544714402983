"""The same archives on Ray Serve as on a TorchServe behind the front: the same answers."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.digits import held_out
from marsmith.serving.host.run_folder import ServerInfo
from tests.support.answers import same
from tests.support.digit_requests import BAD, GOOD, MUTABLE
from tests.support.mutated_requests import mutated
from tests.support.on_ray import (
    IMAGE,
    WORKER,
    Both,
    Load,
    OnRay,
    both,
    differing,
    differing_paths,
    started,
    told,
)
from tests.support.over_http import sent
from tests.support.servers import authorization
from tests.support.waiting import wait_until

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def on_ray(digits_archive: Path, wide_archive: Path, server_state: Path) -> Iterator[OnRay]:
    arguments = {"ingresses": 2}
    with started(digits_archive, wide_archive, workers=1, arguments=arguments) as found:
        yield found


@pytest.fixture
def clients(on_ray: OnRay, digits_server: ServerInfo) -> Iterator[Both]:
    address, key = digits_server.inference_address, authorization(digits_server)
    with both(address, key, on_ray) as found:
        yield found


@pytest.mark.parametrize("requests", [GOOD, BAD], ids=["good", "bad"])
def test_every_request_gets_the_same_bytes(clients: Both, requests: Any) -> None:
    differ, compared = differing(clients, requests, "digits")
    assert differ == {}
    assert compared > 25


def test_every_path_gets_the_same_bytes(clients: Both) -> None:
    assert differing_paths(clients) == []


def test_a_body_that_is_too_large_is_refused_in_the_same_words(
    clients: Both,
) -> None:
    body = b"x" * (20_971_520 + 1)
    answers = [http.post("/predictions/digits", content=body) for http in clients]
    assert [answer.status_code for answer in answers] == [413, 413]
    assert answers[0].content == answers[1].content


def test_a_request_has_one_id(on_ray: OnRay) -> None:
    with on_ray.client() as http:
        mine = http.post("/predictions/digits", content=IMAGE, headers={"X-Request-Id": "mine-7"})
        assert mine.headers.get_list("X-Request-Id") == ["mine-7"]
        (given,) = http.post("/predictions/digits", content=IMAGE).headers.get_list("X-Request-Id")
        assert len(given) == 36


def test_bad_items_hurt_no_neighbours(on_ray: OnRay) -> None:
    chance = random.Random(0)
    bad = [asked for each in BAD.values() if (asked := sent(each, "wide"))]
    images = [image for image, _ in held_out()][:20]
    with on_ray.client() as http, ThreadPoolExecutor(8) as pool:
        alone = {image: http.post("/predictions/digits", content=image).json() for image in images}

        def ask(item: bytes | httpx.Request) -> tuple[int, Any]:
            if isinstance(item, bytes):
                answer = http.post("/predictions/wide", content=item)
                return answer.status_code, answer.json()
            status, _, body = told(http, item)
            return status, body

        for _ in range(15):
            items: list[Any] = [*chance.choices(bad, k=chance.randint(1, 7))]
            items += chance.choices(images, k=8 - len(items))
            chance.shuffle(items)
            for item, (status, answer) in zip(items, pool.map(ask, items), strict=True):
                if isinstance(item, bytes):
                    assert status == 200
                    assert same(answer, alone[item])
                else:
                    assert 400 <= status < 500, answer


def test_nothing_that_is_sent_is_a_fault_of_the_server(on_ray: OnRay) -> None:
    before = on_ray.pids(WORKER)

    def ask(seed: int) -> int:
        chance = random.Random(seed)
        asked = sent(mutated(chance.choice(MUTABLE), chance), "digits")
        if asked is None:
            return 0
        with on_ray.client() as http:
            return int(told(http, asked)[0])

    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(ask, range(1000)))
    assert [each for each in statuses if each >= 500] == []
    assert statuses[200] > 50
    assert on_ray.pids(WORKER) == before


@pytest.mark.parametrize("what", [WORKER, "ray::ServeReplica:marsmith:digits"])
def test_what_is_killed_loses_no_prediction(on_ray: OnRay, what: str) -> None:
    with Load(on_ray.client) as load:
        for _ in range(2):
            on_ray.wait_for_replicas()
            os.kill(on_ray.pids(what)[0], signal.SIGKILL)
            load.goes_on()
    assert set(load.statuses) == {200}


def test_workers_that_are_killed_again_while_they_load_lose_no_prediction(on_ray: OnRay) -> None:
    with Load(on_ray.client) as load:
        on_ray.wait_for_replicas()
        first = on_ray.kill(WORKER)
        wait_until(lambda: len(set(on_ray.pids(WORKER)) - first) >= 2)
        on_ray.kill(WORKER)
        load.goes_on()
    assert set(load.statuses) == {200}


def test_a_node_that_is_killed_loses_no_prediction_and_comes_back(on_ray: OnRay) -> None:
    with Load(on_ray.client) as load:
        for what in ("kill", "add"):
            on_ray.wait_for_replicas()
            assert on_ray.tell(what) == "done"
            load.goes_on()
    assert set(load.statuses) == {200}
