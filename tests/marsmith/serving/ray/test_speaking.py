"""One archive on Ray Serve, whose replicas speak to clients themselves: the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.digit_requests import BAD, GOOD
from tests.support.on_ray import (
    IMAGE,
    WORKER,
    Both,
    Load,
    OnRay,
    differing,
    differing_paths,
)
from tests.support.waiting import wait_until

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archives(digits_archive: Path) -> list[Path]:
    return [digits_archive]


@pytest.mark.parametrize("requests", [GOOD, BAD], ids=["good", "bad"])
def test_every_request_gets_the_same_bytes(clients: Both, requests: Any) -> None:
    differ, compared = differing(clients, requests, "digits")
    assert differ == {}
    assert compared > 25


def test_every_path_gets_the_same_bytes(clients: Both) -> None:
    assert differing_paths(clients) == []


def test_no_other_process_speaks_to_clients(on_ray: OnRay) -> None:
    assert on_ray.pids("ray::ServeReplica:marsmith:_ingress") == []
    with on_ray.client() as http:
        assert http.post("/predictions/digits", content=IMAGE).status_code == 200


def test_workers_that_are_killed_again_while_they_load_lose_no_prediction(on_ray: OnRay) -> None:
    with Load(on_ray.client) as load:
        on_ray.wait_for_replicas()
        first = on_ray.kill(WORKER)
        wait_until(lambda: set(on_ray.pids(WORKER)) - first != set())
        on_ray.kill(WORKER)
        load.goes_on()
    assert set(load.statuses) == {200}


def test_two_applications_answer_side_by_side(on_ray: OnRay) -> None:
    assert on_ray.tell("green") == "done"
    with on_ray.client() as http:
        wait_until(lambda: http.get("/green/v2/health/ready").status_code == 200)
        for path in ("/predictions/digits", "/v1/models/digits:predict"):
            body: Any = IMAGE if "predictions" in path else b'{"instances": [7]}'
            blue, green = (http.post(prefix + path, content=body) for prefix in ("", "/green"))
            assert (blue.status_code, blue.content) == (green.status_code, green.content)
        assert http.get("/green/v2/models/digits").json()["name"] == "digits"
        assert http.get("/green/predictions").status_code == 404
