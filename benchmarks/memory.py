"""What a worker has in memory over many requests of many lengths, in TorchServe's own worker.

    python -m benchmarks.memory ARCHIVE... [--requests 10000]

Texts have 1 to 60 words, recordings last 0.1 to 2 s, batches have 1 to 8 requests, each as likely
as another; what is written has at most 8 tokens, so that most of the work is reading.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import random
import time
import wave
from collections.abc import Callable
from pathlib import Path

import psutil

from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness

BATCH = 8
WORDS = [
    "a",
    "small",
    "model",
    "answers",
    "many",
    "questions",
    "of",
    "different",
    "lengths",
    "in",
    "one",
    "worker",
]


def text(chance: random.Random) -> str:
    """Words in an order of chance."""
    return " ".join(chance.choices(WORDS, k=chance.randint(1, 60)))


def recording(chance: random.Random, rate: int) -> bytes:
    """A WAV file of noise."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(chance.randbytes(2 * chance.randint(rate // 10, 2 * rate)))
    return file.getvalue()


def bodies(harness: Harness, chance: random.Random) -> Callable[[], bytes]:
    """What makes bodies that an archive takes."""
    said = harness.describe()
    rate, options = said["input"].get("sample_rate"), said["options"]["properties"]

    def body() -> bytes:
        if "max_new_tokens" not in options:
            return text(chance).encode() if rate is None else recording(chance, rate)
        data = text(chance) if rate is None else base64.b64encode(recording(chance, rate)).decode()
        return json.dumps({"data": data, "parameters": {"max_new_tokens": 8}}).encode()

    return body


def measured(archive: Path, requests: int) -> dict[str, object]:
    """The memory (RSS) of one archive's worker, in MiB, by requests answered."""
    chance = random.Random(0)  # noqa: S311 - no secret
    with Harness(archive, batch_size=BATCH) as harness:
        body, worker = bodies(harness, chance), psutil.Process(harness.pid)
        marks = [requests // 100, *(requests * tenth // 10 for tenth in range(1, 11))]
        found, done, began = {}, 0, time.monotonic()
        for mark in marks:
            while done < mark:
                size = min(mark - done, chance.randint(1, BATCH))
                answers = harness.predict([Request.raw(body()) for _ in range(size)])
                if wrong := [each for each in answers if each.status != 200]:
                    raise SystemExit(f"{archive}: {wrong[0].status} {wrong[0].body!r}")
                done += size
            found[done] = round(worker.memory_info().rss / 2**20, 1)
        seconds = round(time.monotonic() - began)
    return {"rss_mib": found, "seconds": seconds}


def main() -> None:
    """Measure, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archives", type=Path, nargs="+")
    parser.add_argument("--requests", type=int, default=10_000)
    given = parser.parse_args()
    print(json.dumps({each.stem: measured(each, given.requests) for each in given.archives}))


if __name__ == "__main__":
    main()
