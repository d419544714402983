"""Many mixed requests with a rollout in the middle: what is lost, and what memory grows.

    python -m benchmarks.soak [--requests 200000]

It serves `digits`, which `marsmith build archiver_configs/digits.yaml` makes, and prints one JSON
document. Memory is what a process has for itself (USS), at the median of each tenth.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import TIMEOUT_S, authorization
from examples.digits import held_out
from marsmith.serving import server
from marsmith.serving.host.processes import family
from marsmith.serving.server import Server

ARCHIVE = Path("model_store/digits.mar")
CLIENTS = 8
ROLLOUT_AT, HALF = 0.35, 0.5
SAMPLE_S = 1.0
IMAGES = held_out()[:100]
BOUNDARY, JSON = "soak", "application/json"


@dataclass(frozen=True)
class Question:
    """A request, and what is right of its answer."""

    method: str
    path: str
    body: bytes | None
    media_type: str
    status: int
    right: Callable[[Any], bool] = lambda _: True


def questions(digits: Sequence[str]) -> list[Question]:
    """Each way to ask, in turn, of images that are answered with these digits."""
    found: list[Question] = []
    for (image, _), digit in zip(IMAGES, digits, strict=True):
        text = base64.b64encode(image).decode()

        def first(answer: Any, digit: str = digit) -> bool:
            return bool(next(iter(answer)) == digit)

        def of_instances(answer: Any, digit: str = digit) -> bool:
            return bool(next(iter(answer["predictions"][0])) == digit)

        def of_outputs(answer: Any, digit: str = digit) -> bool:
            (labels,) = [each for each in answer["outputs"] if each["name"] == "labels"]
            return bool(labels["data"][0] == digit)

        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="data"\r\n\r\n'
        form = head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()
        v1 = json.dumps({"instances": [{"b64": text}]}).encode()
        v2 = json.dumps({"inputs": [tensor]}).encode()
        multipart = f"multipart/form-data; boundary={BOUNDARY}"
        asked = "/predictions/digits"
        found += [
            Question("POST", asked, image, "image/png", 200, first),
            Question(
                "POST", "/v1/models/digits:predict", v1, "application/json", 200, of_instances
            ),
            Question("POST", asked, image, "image/png", 200, first),
            Question("POST", "/v2/models/digits/infer", v2, JSON, 200, of_outputs),
            Question("POST", asked, form, multipart, 200, first),
            Question("POST", asked, form[:-40], multipart, 400),
            Question("POST", asked, b"{", JSON, 400),
            Question("POST", "/predictions/none", image, "image/png", 404),
            Question("GET", "/v2/health/ready", None, "", 200),
        ]
    return found


def ask(
    info: Server,
    asked: Sequence[Question],
    numbers: Iterator[int],
    most: int,
    answers: Counter[str],
) -> None:
    """Ask over one connection, until enough is asked."""
    headers = authorization(info)
    connection = http.client.HTTPConnection("127.0.0.1", info.port, timeout=TIMEOUT_S)
    while (number := next(numbers)) < most:
        question = asked[number % len(asked)]
        said = "right"
        try:
            sent = {**headers, "Content-Type": question.media_type}
            connection.request(question.method, question.path, question.body, sent)
            response = connection.getresponse()
            body = response.read()
            if response.status != question.status:
                said = f"{response.status} instead of {question.status}: {body[:80]!r}"
            elif not question.right(json.loads(body)):
                said = "wrong"
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = f"lost: {type(error).__name__}"
            connection.close()
        answers[said] += 1
    connection.close()


def used(info: Server) -> dict[str, float]:
    """Megabytes by kind of process."""
    found: dict[str, float] = {}
    for process in [psutil.Process(info.pid), *family(info.temp_dir)]:
        with suppress(psutil.Error):
            name = "supervisor" if process.pid == info.pid else process.name()
            kind = name if name in ("java", "haproxy", "supervisor") else "workers"
            mine = process.memory_full_info().uss / 1e6
            found[kind] = found.get(kind, 0.0) + mine
    return found


def soak(requests: int) -> dict[str, Any]:
    """Ask, roll out, and measure all the while."""
    numbers, answers = itertools.count(), Counter[str]()
    samples: list[tuple[float, dict[str, float]]] = []
    with server.serve([ARCHIVE], port=0) as info:
        with info.client() as client:
            digits = [next(iter(client.predict("digits", image))) for image, _ in IMAGES]
        asked = questions(digits)
        began = time.perf_counter()
        threads = [
            threading.Thread(target=ask, args=(info, asked, numbers, requests, answers))
            for _ in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        rolled: dict[str, float] = {}

        def roll_out() -> None:
            rolled["from"] = answers.total() / requests
            info.rollout("digits", ARCHIVE, canary=(25, 100), hold_s=5.0, max_p99_ratio=10.0)
            rolled["to"] = answers.total() / requests

        rollout = threading.Thread(target=roll_out)
        while any(thread.is_alive() for thread in threads):
            if rollout.ident is None and answers.total() > ROLLOUT_AT * requests:
                rollout.start()
            samples.append((answers.total() / requests, used(info)))
            time.sleep(SAMPLE_S)
        seconds = time.perf_counter() - began
        rollout.join()
    tenths: dict[str, list[float]] = {}
    for kind in ("workers", "java", "haproxy", "supervisor"):
        tenths[kind] = [
            round(
                statistics.median(by[kind] for at, by in samples if tenth <= 10 * at < tenth + 1), 1
            )
            for tenth in range(10)
        ]
    half = int(10 * HALF)
    growth = {
        kind: round(megabytes[-1] / megabytes[half] - 1, 4) for kind, megabytes in tenths.items()
    }
    return {
        "requests": requests, "seconds": round(seconds), "answers": dict(answers),
        "rollout": rolled, "mb_by_tenth": tenths, "growth_of_second_half": growth,
    }  # fmt: skip


def main() -> None:
    """Soak, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200_000)
    print(json.dumps(soak(parser.parse_args().requests)), flush=True)


if __name__ == "__main__":
    main()
