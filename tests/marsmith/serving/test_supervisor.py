"""A server's life: what dies is revived, who asks meanwhile is told, a stop loses nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from marsmith.serving import server
from marsmith.serving.host.processes import family
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.serving.server import Server
from tests.support.servers import authorization
from tests.support.waiting import wait_until

MakeArchive = Callable[..., Path]


@pytest.fixture(scope="module")
def running(make_tiny_archive: MakeArchive, server_state: Path) -> Iterator[Server]:
    """One server: what dies in the first test is there again for the next, which stops it."""
    with server.serve([make_tiny_archive("tiny")], port=0) as started:
        yield started


def connect(info: ServerInfo) -> httpx.Client:
    headers = {"Authorization": authorization(info)}
    limits = httpx.Limits(max_connections=64)
    return httpx.Client(
        base_url=info.inference_address, headers=headers, timeout=120, limits=limits
    )


def ready(http: httpx.Client) -> bool:
    try:
        return http.get("/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def process(info: ServerInfo, name: str) -> psutil.Process:
    return next(each for each in family(info.temp_dir) if each.name().startswith(name))


def workers(running: Server) -> set[int]:
    return {worker.pid for model in running.status().models for worker in model.workers}


def test_what_dies_is_revived_and_who_asks_meanwhile_is_told(running: Server) -> None:
    with connect(running) as http:
        for name in ("pt_main", "java"):
            dead = process(running, name)
            dead.kill()
            # A forked worker may be there again before the front has looked.
            forked = name == "pt_main"
            wait_until(lambda: not ready(http) or (forked and dead.pid not in workers(running)))  # noqa: B023
            answer = http.post("/predictions/tiny", json={})
            if answer.status_code != 200:  # unless it has been revived already
                assert answer.status_code == 503
                assert int(answer.headers["Retry-After"]) >= 1
                assert "no worker" in answer.json()["error"]
                assert http.get("/v2/health/live").status_code == 200
            wait_until(lambda: ready(http))
            assert http.post("/predictions/tiny", json={}).status_code == 200
        process(running, "haproxy").kill()
        wait_until(lambda: ready(http))
        assert http.post("/predictions/tiny", json={}).status_code == 200
    assert running.status().ready


def test_a_stop_answers_what_is_on_its_way(running: Server) -> None:
    def ask(_: int) -> tuple[int, float]:
        answer = http.post("/predictions/tiny", json={"sleep": 1.0})
        return answer.status_code, time.monotonic()

    with connect(running) as http, ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, number) for number in range(6)]
        log = running.run_dir / "front"
        assert log.exists()
        wait_until(lambda: on_its_way(running) >= 3)
        stopping = threading.Thread(target=running.stop)
        stopping.start()
        wait_until(lambda: not ready(http))
        refused: list[httpx.Response] = []
        while stopping.is_alive() and not refused:
            try:
                answer = httpx.post(
                    f"{running.inference_address}/predictions/tiny",
                    headers={"Authorization": http.headers["Authorization"]},
                    json={},
                    timeout=60,
                )
            except httpx.TransportError:
                break
            if answer.status_code != 200:
                refused.append(answer)
        assert [answer.result()[0] for answer in asked] == [200] * 6
        stopping.join(300)
    assert [(each.status_code, each.json()["error"]) for each in refused] == [
        (503, "this server stops")
    ]
    assert family(running.temp_dir) == []
    assert not running.temp_dir.exists()


def on_its_way(info: ServerInfo) -> int:
    """How many requests the front has given to a model."""
    from marsmith.serving.front.runtime import Runtime

    said = Runtime(info.temp_dir / "front").ask("show stat")
    row = next(line for line in said.splitlines() if line.startswith("model_tiny,BACKEND,"))
    return int(row.split(",")[4])


def test_it_is_light() -> None:
    # It lives as long as the server does, beside the models.
    code = "import sys, marsmith.serving.supervisor; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert {"torch", "numpy", "pandas"} & set(done.stdout.split()) == set()
