"""The same archives on Ray Serve as on a TorchServe behind the front: the same answers."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import psutil
import pytest

from examples.digits import held_out
from marsmith.serving.front import keys
from marsmith.serving.host.run_folder import ServerInfo
from tests.support.answers import same
from tests.support.digit_requests import BAD, GOOD, MUTABLE
from tests.support.mutated_requests import mutated
from tests.support.over_http import sent
from tests.support.paths import ROOT
from tests.support.ray_cluster import SAID
from tests.support.servers import authorization
from tests.support.waiting import wait_until

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

IMAGE, DIGIT = held_out()[0]
COMPARED = (
    "content-type", "www-authenticate", "allow", "retry-after", "cache-control", "pragma",
    "expires", "inference-header-content-length",
)  # fmt: skip
MADE = re.compile(rb'"created": \d+')
JSON = {"Content-Type": "application/json"}
PATHS = (
    "/v2/health/live", "/v2/health/ready", "/ping", "/v2", "/v2/models/digits",
    "/v2/models/digits/ready", "/v2/models/digits/versions/1.0/ready", "/v1/models/digits",
    "/v2/models/digits/versions/99/ready", "/v2/models/digits/versions/99", "/v2/models/nope",
    "/v2/models/nope/ready", "/v1/models", "/", "/models", "/token?type=management",
    "/predictions/nope", "/predictions/digits", "/predictions/digits/1.0", "/predictions/digits/9",
    "/predictions/digits/1.0/more", "/predictions/digits%2f..", "/predictions/digits;x",
    "/predictions/wide", "/explanations/digits", "/explanations/nope", "/descriptions/digits",
    "/descriptions/nope", "/v1/models/digits:predict", "/v1/models/digits:explain",
    "/v2/models/digits/infer", "/v1/embeddings", "/predictions/digits/v1/embeddings", "/rerank",
)  # fmt: skip


@dataclass
class OnRay:
    """Archives on a small Ray cluster.

    Attributes:
        address: of the ingress.
        key: for everything.
        process: the one that has started all.
    """

    address: str
    key: str
    process: subprocess.Popen[str]

    def tell(self, line: str) -> str:
        """Have something done; see `tests.support.ray_cluster`."""
        into: IO[str] | None = self.process.stdin
        out: IO[str] | None = self.process.stdout
        assert into
        assert out
        into.write(line + "\n")
        into.flush()
        lines = (each for each in iter(out.readline, "") if each.startswith(SAID))
        return next(lines).removeprefix(SAID)

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.address, headers=headers, timeout=120)

    def pids(self, what: str) -> list[int]:
        """The processes of its family whose command line has something in it."""
        return [each.pid for each in self.family() if what in command_line(each)]

    def family(self) -> list[psutil.Process]:
        """The processes that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait_for_replicas(self, number: int = 2) -> None:
        """Wait until so many replicas of digits run, and no other is on its way."""
        whole = {"RUNNING": number}
        wait_until(lambda: json.loads(self.tell("status"))["digits"] == whole)


def command_line(process: psutil.Process) -> str:
    """What a process was started as; "" for one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def on_ray(
    digits_archive: Path, wide_archive: Path, server_state: Path, tmp_path_factory: Any
) -> Iterator[OnRay]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    key = keys.add("ray", keys.SCOPES)
    # The path of a Unix socket has 104 bytes at most.
    temp = Path("/tmp") / f"marsmith-ray-{os.getpid()}"
    command = [sys.executable, "-m", "tests.support.ray_cluster", str(port), "1", str(temp)]
    with (tmp_path_factory.mktemp("ray") / "log").open("w") as log, subprocess.Popen(
        [*command, str(digits_archive), str(wide_archive)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            assert process.stdout.readline() == "UP\n", Path(log.name).read_text()
            found = OnRay(f"http://127.0.0.1:{port}", key, process)
            with found.client() as http:
                wait_until(lambda: http.get("/ping").status_code == 200)
            yield found
        finally:
            started = psutil.Process(process.pid)
            family = [started, *started.children(recursive=True)]
            if process.stdin:
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(120)
            for each in (
                [psutil.Process(process.pid), *family] if process.poll() is None else family
            ):
                with suppress(psutil.Error):
                    each.kill()
            shutil.rmtree(temp, ignore_errors=True)
            keys.revoke("ray")


def told(http: httpx.Client, request: httpx.Request) -> Any:
    """The answer to a request, but for what differs from server to server."""
    asked = http.build_request(
        request.method, request.url.raw_path.decode(), content=request.read(),
        headers=[(n, v) for n, v in request.headers.raw if n.lower() not in (b"host",)],
    )  # fmt: skip
    answer = http.send(asked)
    headers = {name: answer.headers.get(name) for name in COMPARED}
    return answer.status_code, headers, MADE.sub(b"", answer.content)


@pytest.fixture
def both(on_ray: OnRay, digits_server: ServerInfo) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    headers = {"Authorization": authorization(digits_server)}
    address = digits_server.inference_address
    with (
        httpx.Client(base_url=address, headers=headers, timeout=120) as torchserve,
        on_ray.client() as ray,
    ):
        yield torchserve, ray


@pytest.mark.parametrize("kind", ["good", "bad"])
def test_every_request_gets_the_same_bytes(
    both: tuple[httpx.Client, httpx.Client], kind: str
) -> None:
    torchserve, ray = both
    differ, compared = {}, 0
    for name, request in {"good": GOOD, "bad": BAD}[kind].items():
        if (asked := sent(request, "digits")) is not None:
            expected, found = told(torchserve, asked), told(ray, asked)
            compared += 1
            if expected != found:
                differ[name] = (expected, found)
    assert differ == {}
    assert compared > 25


def test_every_path_gets_the_same_bytes(both: tuple[httpx.Client, httpx.Client]) -> None:
    torchserve, ray = both
    bodies = {"": IMAGE, "application/json": b'{"model": "digits", "input": "x"}'}
    differ = []
    for known in (True, False):
        if not known:
            for http in both:
                http.headers.pop("Authorization")
        for path in PATHS:
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
                for kind, body in bodies.items() if method in ("POST", "PUT") else [("", b"")]:
                    headers = {"Content-Type": kind} if kind else {}
                    asked = httpx.Request(method, "http://x" + path, content=body, headers=headers)
                    expected, found = told(torchserve, asked), told(ray, asked)
                    if expected != found:
                        differ.append((method, path, kind, known, expected, found))
    assert differ == []


def test_a_body_that_is_too_large_is_refused_in_the_same_words(
    both: tuple[httpx.Client, httpx.Client],
) -> None:
    body = b"x" * (20_971_520 + 1)
    answers = [http.post("/predictions/digits", content=body) for http in both]
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
    before = on_ray.pids("model_service_worker")

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
    assert on_ray.pids("model_service_worker") == before


class Load:
    """Keeps asking, and notes every status."""

    def __init__(self, on_ray: OnRay, clients: int = 8) -> None:
        self._on_ray, self._ended = on_ray, threading.Event()
        self.statuses: Counter[int | str] = Counter()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with self._on_ray.client() as http:
            while not self._ended.is_set():
                try:
                    answer = http.post("/predictions/digits", content=IMAGE)
                    right = answer.status_code == 200 and next(iter(answer.json())) == DIGIT
                    self.statuses[200 if right else answer.status_code] += 1
                except httpx.HTTPError as error:
                    self.statuses[repr(error)] += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.statuses[200] > 50)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(300)

    def goes_on(self) -> None:
        """Wait until it has been answered for a while, after what has been done to it."""
        before = self.statuses[200]
        wait_until(lambda: self.statuses[200] > before + 200)


@pytest.mark.parametrize("what", ["model_service_worker", "ray::ServeReplica:marsmith:digits"])
def test_what_is_killed_loses_no_prediction(on_ray: OnRay, what: str) -> None:
    with Load(on_ray) as load:
        for _ in range(2):
            on_ray.wait_for_replicas()
            os.kill(on_ray.pids(what)[0], signal.SIGKILL)
            load.goes_on()
    assert set(load.statuses) == {200}


def test_a_node_that_is_killed_loses_no_prediction_and_comes_back(on_ray: OnRay) -> None:
    with Load(on_ray) as load:
        for what in ("kill", "add"):
            on_ray.wait_for_replicas()
            assert on_ray.tell(what) == "done\n"
            load.goes_on()
    assert set(load.statuses) == {200}
