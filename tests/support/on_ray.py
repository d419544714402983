"""Archives on a small Ray cluster, started and asked; what it says beside what TorchServe says."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

from examples.digits import held_out
from marsmith.harness.wire import Request
from marsmith.serving.front import keys
from marsmith.serving.host.ports import free_ports
from tests.support.over_http import sent
from tests.support.paths import ROOT
from tests.support.ray_cluster import SAID
from tests.support.waiting import AT_MOST_S, wait_until

IMAGE, DIGIT = held_out()[0]
COMPARED = (
    "content-type", "www-authenticate", "allow", "retry-after", "cache-control", "pragma",
    "expires", "inference-header-content-length",
)  # fmt: skip
MADE = re.compile(rb'"created": ?\d+')
WRITTEN = re.compile(rb'"(?:text|content)": ?"((?:[^"\\]|\\.)*)"')
"""What a piece of a stream adds to a text."""
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
WORKER = "model_service_worker"


@dataclass
class OnRay:
    """Archives on a small Ray cluster.

    Attributes:
        address: where clients ask.
        key: for everything.
        process: the one that has started all.
    """

    address: str
    key: str
    process: subprocess.Popen[str]
    _said: queue.Queue[str] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        out: IO[str] | None = self.process.stdout
        assert out
        for line in out:
            self._said.put(line)
        self._said.put(SAID + "it has ended\n")

    def hears(self, what: str) -> str:
        """The rest of the next line that begins with something, which can't take for ever."""
        line = ""
        while not line.startswith((what, SAID)):
            line = self._said.get(timeout=AT_MOST_S)
        return line.removeprefix(what).rstrip("\n")

    def tell(self, line: str) -> str:
        """Have something done; see `tests.support.ray_cluster`."""
        into: IO[str] | None = self.process.stdin
        assert into
        into.write(line + "\n")
        into.flush()
        return self.hears(SAID)

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.address, headers=headers, timeout=120)

    def pids(self, what: str) -> list[int]:
        """The processes of its family whose command line has something in it."""
        return [each.pid for each in self.family() if what in command_line(each)]

    def family(self) -> list[psutil.Process]:
        """The processes that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self, what: str) -> set[int]:
        """Kill all processes whose command line has something in it, and say which they were."""
        pids = set(self.pids(what))
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids

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


@contextmanager
def started(
    *archives: Path,
    workers: int = 0,
    cores: int = 4,
    arguments: Mapping[str, object] | None = None,
) -> Iterator[OnRay]:
    """Serve archives on a cluster of a head and some worker nodes, and end all of it.

    Args:
        archives: what is served.
        workers: how many nodes beside the head.
        cores: how many each node counts.
        arguments: of the application, but for the archives.
    """
    port = free_ports(1)[0]
    key = keys.add(f"ray{port}", keys.SCOPES)
    said = json.dumps({"archives": [str(each) for each in archives], **(arguments or {})})
    try:
        with cluster(port, workers, cores, said) as process:
            found = OnRay(f"http://127.0.0.1:{port}", key, process)
            assert found.hears("UP") == ""
            with found.client() as http:
                wait_until(lambda: http.get("/ping").status_code == 200)
            yield found
    finally:
        keys.revoke(f"ray{port}")


@contextmanager
def cluster(port: int, workers: int, cores: int, said: str) -> Iterator[subprocess.Popen[str]]:
    """Run `tests.support.ray_cluster`, and end all that it has started; see there."""
    # The path of a Unix socket has 104 bytes at most.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mr", ignore_cleanup_errors=True) as temp:
        numbers = [str(number) for number in (port, workers, cores)]
        command = [sys.executable, "-m", "tests.support.ray_cluster", *numbers]
        with subprocess.Popen(
            [*command, f"{temp}/ray", said],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Have it end what it has started, and kill what is left after a while."""
    started = psutil.Process(process.pid)
    family = [*started.children(recursive=True), started]
    if process.stdin:
        process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(120)
    for each in family:
        with suppress(psutil.Error):
            each.kill()


def told(http: httpx.Client, request: httpx.Request) -> Any:
    """The answer to a request, but for what differs from server to server."""
    asked = http.build_request(
        request.method, request.url.raw_path.decode(), content=request.read(),
        headers=[(n, v) for n, v in request.headers.raw if n.lower() not in (b"host",)],
    )  # fmt: skip
    answer = http.send(asked)
    headers = {name: answer.headers.get(name) for name in COMPARED}
    return answer.status_code, headers, in_one_piece(MADE.sub(b"", answer.content))


def in_one_piece(body: bytes) -> bytes:
    """A stream of text as one piece, and what its end says: time alone decides on the pieces."""
    lines = body.splitlines()
    ends = [index for index, line in enumerate(lines) if b'"finish_reason":"' in line]
    if not ends:
        return body
    rest = [WRITTEN.sub(b"", line) for line in lines[ends[0] :]]
    return b"\n".join([b"".join(WRITTEN.findall(body)), *rest])


Both = tuple[httpx.Client, httpx.Client]


@contextmanager
def both(torchserve: str, authorization: str, on_ray: OnRay) -> Iterator[Both]:
    """Clients of a TorchServe and of a cluster."""
    headers = {"Authorization": authorization}
    with (
        httpx.Client(base_url=torchserve, headers=headers, timeout=120) as beside,
        on_ray.client() as ray,
    ):
        yield beside, ray


def differing(clients: Both, requests: Mapping[str, Request], model: str) -> tuple[Any, int]:
    """Which requests are answered otherwise by the two, and how many were sent."""
    differ, compared = {}, 0
    for name, request in requests.items():
        if (asked := sent(request, model)) is not None:
            expected, found = (told(http, asked) for http in clients)
            compared += 1
            if expected != found:
                differ[name] = (expected, found)
    return differ, compared


def differing_paths(clients: Both) -> list[Any]:
    """Which paths, methods and bodies are answered otherwise by the two, with a key and without."""
    bodies = {"": IMAGE, "application/json": b'{"model": "digits", "input": "x"}'}
    differ = []
    for known in (True, False):
        if not known:
            for http in clients:
                http.headers.pop("Authorization")
        for path in PATHS:
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
                for kind, body in bodies.items() if method in ("POST", "PUT") else [("", b"")]:
                    headers = {"Content-Type": kind} if kind else {}
                    asked = httpx.Request(method, "http://x" + path, content=body, headers=headers)
                    expected, found = (told(http, asked) for http in clients)
                    if expected != found:
                        differ.append((method, path, kind, known, expected, found))
    return differ


class Load:
    """Keeps asking digits, and notes every status.

    Args:
        client: makes a client.
        clients: how many ask at once.
    """

    def __init__(self, client: Callable[[], httpx.Client], clients: int = 8) -> None:
        self._client, self._ended = client, threading.Event()
        self.statuses: Counter[int | str] = Counter()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with self._client() as http:
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
            thread.join(AT_MOST_S)

    def goes_on(self) -> None:
        """Wait until it has been answered for a while, after what has been done to it."""
        before = self.statuses[200]
        wait_until(lambda: self.statuses[200] > before + 200)
