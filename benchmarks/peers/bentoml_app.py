"""BentoML: two workers, adaptive batches of up to eight; a constant and streamed texts in none."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import bentoml

from benchmarks.peers.plain import plain

served = bentoml.service(workers=2, traffic={"timeout": 60})
batched = bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60_000, route="/predict")


@served
class Images:
    """A model of images."""

    def __init__(self) -> None:
        self.plain = plain()

    @batched  # type: ignore[untyped-decorator]  # not installed here
    def predict(self, data: list[Path]) -> list[dict[str, float]]:
        """Answer a batch of images."""
        answers: list[dict[str, float]] = self.plain.answer(
            [self.plain.decode(each.read_bytes()) for each in data]
        )
        return answers


@served
class Texts:
    """A model of texts."""

    def __init__(self) -> None:
        self.plain = plain()

    @batched  # type: ignore[untyped-decorator]  # not installed here
    def predict(self, text: list[str]) -> list[dict[str, Any]]:
        """Answer a batch of texts."""
        answers: list[dict[str, Any]] = self.plain.answer(
            [self.plain.decode(each.encode()) for each in text]
        )
        return answers


@served
class Single:
    """A model that gains nothing from batches."""

    def __init__(self) -> None:
        self.plain = plain()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]  # not installed here
    def predict(self, text: str) -> dict[str, int]:
        """Answer one text."""
        answer: dict[str, int] = self.plain.answer([self.plain.decode(text.encode())])[0]
        return answer


@served
class Streamed:
    """A model that writes texts."""

    def __init__(self) -> None:
        self.plain = plain()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]  # not installed here
    def write(self, prompt: str, max_new_tokens: int) -> Generator[str, None, None]:
        """Write one text, each piece a line of JSON."""
        asked = json.dumps({"prompt": prompt, "max_new_tokens": max_new_tokens}).encode()
        for (piece,) in self.plain.stream([self.plain.decode(asked)]):
            yield json.dumps(piece) + "\n"
