"""A model that takes a while, served, and clients that ask it all the while."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.load import authorization
from benchmarks.stock import Handler, archive
from marsmith.errors import MarsmithError
from marsmith.serving import server
from marsmith.serving.server import Server

SLEEPER = """
import json, time

class Sleeper:
    def initialize(self, context):
        self.version = context.manifest["model"]["modelVersion"]
        LOADING

    def handle(self, data, context):
        time.sleep(SECONDS * len(data))
        ANSWERING
        return [{"answer": ANSWER, "model_version": self.version}] * len(data)
"""
# What a new version may be like: what it does as it loads, as it answers, how long it takes, and
# what it answers.
CANDIDATES = {
    "good": ("pass", "pass", 1, "yes"),
    "answers otherwise": ("pass", "pass", 1, "no"),
    "answers with errors": ("pass", "raise ValueError('no')", 1, "yes"),
    "3 times slower": ("pass", "pass", 3, "yes"),
    "crashes": ("pass", "import os; os._exit(1)", 1, "yes"),
    "never loads": ("raise RuntimeError('no weights')", "pass", 1, "yes"),
}
TIMEOUT_S = 60.0
Answers = list[tuple[str, float]]


@contextmanager
def sleeping(
    seconds: float, front: bool, workers: int = 1, grace_s: float = 30.0, **limits: float
) -> Iterator[Server]:
    """A server of a model that takes a while for each request."""
    settings: dict[str, Any] = {"minWorkers": workers, "maxWorkers": workers, "batchSize": 1}
    settings |= {"maxBatchDelay": 1, "responseTimeout": 60, "startupTimeout": 60}
    if limits:
        settings["front"] = limits
    with tempfile.TemporaryDirectory() as folder:
        packed = pack(Path(folder), seconds, "good", settings)
        started = server.serve([packed], port=0, front=front, grace_s=grace_s)
        try:
            yield started
        finally:
            started.stop()


def pack(root: Path, seconds: float, kind: str, settings: dict[str, Any], to: str = "1.0") -> Path:
    """An archive of a model that takes a while, in a folder."""
    loading, answering, times, answer = CANDIDATES[kind]
    source = SLEEPER.replace("SECONDS", repr(seconds * times)).replace("LOADING", loading)
    source = source.replace("ANSWERING", answering).replace("ANSWER", repr(answer))
    (root / "store").mkdir(parents=True)
    environment = {**os.environ, "TMPDIR": str(root)}
    return archive("sleeper", Handler(source, settings=settings), root, environment, to)


def ask(http: httpx.Client, answers: Answers, path: str = "/predictions/sleeper") -> None:
    """Ask once; note the status, or what went wrong, and the seconds."""
    began = time.perf_counter()
    try:
        answer = http.post(path, content=b"x")
        said = str(answer.status_code)
        if answer.status_code == 200:
            said += f" of {answer.json()['model_version']}"
        if answer.status_code == 503 and "Retry-After" not in answer.headers:
            said += " without Retry-After"
    except httpx.ConnectError:
        said = "not connected"
    except httpx.TransportError as error:
        said = f"lost: {type(error).__name__}"
    answers.append((said, time.perf_counter() - began))


def connect(info: Server) -> httpx.Client:
    """A client of one connection."""
    return httpx.Client(
        base_url=info.inference_address, headers=authorization(info), timeout=TIMEOUT_S
    )


@contextmanager
def asking(info: Server, clients: int) -> Iterator[Answers]:
    """Ask from many connections, one request after another, until the block ends."""

    def go(answers: Answers, until: threading.Event) -> None:
        with connect(info) as http:
            while not until.is_set():
                ask(http, answers)
                if not answers[-1][0].startswith("200"):
                    time.sleep(0.05)

    with _at_once(clients, go) as answers:
        yield answers


@contextmanager
def predicting(info: Server, clients: int) -> Iterator[Answers]:
    """Ask with our own clients, which send again what may be sent again."""

    def go(answers: Answers, until: threading.Event) -> None:
        with info.client(TIMEOUT_S) as client:
            while not until.is_set():
                began = time.perf_counter()
                try:
                    said = f"200 of {client.predict('sleeper', b'x')['model_version']}"
                except MarsmithError as error:
                    said = f"{type(error).__name__}: {error.message}"
                answers.append((said, time.perf_counter() - began))

    with _at_once(clients, go) as answers:
        yield answers


@contextmanager
def _at_once(clients: int, go: Callable[[Answers, threading.Event], None]) -> Iterator[Answers]:
    answers: Answers = []
    until = threading.Event()
    threads = [threading.Thread(target=go, args=(answers, until)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        until.set()
        for thread in threads:
            thread.join()


def counted(answers: Answers) -> dict[str, Any]:
    """How often each answer came, and how long they took."""
    seconds = sorted(each for _, each in answers)
    return {
        "answers": dict(Counter(said for said, _ in answers)),
        "p50_s": round(statistics.median(seconds), 4),
        "slowest_s": round(seconds[-1], 3),
    }
