"""What a worker has in memory over many requests of many lengths, in TorchServe's own worker.

    python -m benchmarks.memory ARCHIVE... [--requests 10000]

Texts have 1 to 60 words, those that are spoken 1 to 6, lists of texts 1 to 8 items, recordings last
0.1 to 2 s, images have sides of 32 to 256 pixels, sequences 1 to 20 requests, batches 1 to 8, each
as likely as another; what is written has at most 8 tokens, so that most of the work is reading.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import math
import random
import time
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

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


def image(chance: random.Random) -> bytes:
    """A PNG of one colour."""
    file, sides = io.BytesIO(), (chance.randint(32, 256), chance.randint(32, 256))
    Image.new("RGB", sides, tuple(chance.randbytes(3))).save(file, "PNG")
    return file.getvalue()


def texts(chance: random.Random) -> list[str]:
    """Several texts, none twice."""
    return [f"{n} {text(chance)}" for n in range(chance.randint(1, 8))]


INSTANCES: dict[str, Callable[[random.Random], object]] = {
    "fill_mask": lambda chance: f"{text(chance)} [MASK] {text(chance)}",
    "question_answering": lambda chance: {"question": "who?", "context": text(chance)},
    "speech_synthesis": lambda chance: " ".join(chance.choices(WORDS, k=chance.randint(1, 6))),
    "reranking": lambda chance: {"query": text(chance), "documents": texts(chance)},
    "zero_shot_classification": lambda chance: {
        "text": text(chance), "candidate_labels": [each[:20] for each in texts(chance)],
    },
}  # fmt: skip
"""What a task of texts takes that isn't one text."""


class Asking:
    """What makes bodies that an archive takes.

    Args:
        harness: its worker.
        chance: what they are made of.
    """

    def __init__(self, harness: Harness, chance: random.Random) -> None:
        said = harness.describe()
        self.task, self.takes, self._chance = said["task"], said["input"], chance
        self._short = {"max_new_tokens": 8} if "max_new_tokens" in _options(said) else {}
        self._sequences = "sequence_id" in _options(said)
        self._left = 0

    def __call__(self) -> bytes:
        """The next body."""
        if "image" in self.takes:
            return image(self._chance)
        if rate := self.takes.get("sample_rate"):
            found = recording(self._chance, rate)
            return (
                self._json(base64.b64encode(found).decode(), self._short) if self._short else found
            )
        if tensors := self.takes.get("tensors"):
            return self._tensors(tensors)
        return self._json(INSTANCES.get(self.task, text)(self._chance), self._short)

    def _tensors(self, tensors: Mapping[str, Any]) -> bytes:
        """Numbers of chance; a size that has a name is 1 to 60 in all of them."""
        size = self._chance.randint(1, 60)
        data = {}
        for name, each in tensors.items():
            shape = [side if isinstance(side, int) else size for side in each["shape"]]
            values = [self._chance.gauss(0, 1) for _ in range(math.prod(shape))]
            if not each["optional"]:
                data[name] = np.reshape(values, shape).tolist()
        return self._json(data, self._next_of_a_sequence() if self._sequences else {})

    def _next_of_a_sequence(self) -> dict[str, object]:
        start = self._left == 0
        self._left = self._chance.randint(1, 20) if start else self._left
        self._left -= 1
        return {"sequence_id": 1, "sequence_start": start, "sequence_end": self._left == 0}

    @staticmethod
    def _json(data: object, parameters: Mapping[str, object]) -> bytes:
        return json.dumps({"data": data, "parameters": parameters}).encode()


def _options(said: Mapping[str, Any]) -> Mapping[str, object]:
    found: Mapping[str, object] = said["options"]["properties"]
    return found


def measured(archive: Path, requests: int) -> dict[str, object]:
    """The memory (RSS) of one archive's worker, in MiB, by requests answered."""
    chance = random.Random(0)  # noqa: S311 - no secret
    with Harness(archive, batch_size=BATCH) as harness:
        body, worker = Asking(harness, chance), psutil.Process(harness.pid)
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
