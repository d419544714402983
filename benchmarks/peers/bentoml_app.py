"""BentoML: two workers, adaptive batches of up to eight."""

from __future__ import annotations

from pathlib import Path

import bentoml

from benchmarks.peers.plain import Answer, Plain


@bentoml.service(workers=2, traffic={"timeout": 60})
class Classifier:
    """The plain classifier."""

    def __init__(self) -> None:
        self.plain = Plain()

    @bentoml.api(  # type: ignore[untyped-decorator]  # not installed here
        batchable=True, max_batch_size=8, max_latency_ms=60_000
    )
    def predict(self, images: list[Path]) -> list[Answer]:
        """Answer a batch of images."""
        return self.plain.answer([self.plain.decode(each.read_bytes()) for each in images])
