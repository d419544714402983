"""A worker's own metrics, for Prometheus: one set per batch, as lines that TorchServe reads."""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("PreprocessTime", "InferenceTime", "PostprocessTime")
COUNTS = ("Instances", "RefusedRequests", "FailedRequests", "Tokens")


class BatchMetrics:
    """The timings and counts of one batch of requests.

    Args:
        timed: whether to note when each stage began and ended, too.

    Attributes:
        seconds: by stage, the sum over the stage's parts.
        counts: by name.
        spans: by stage, when its first part began and its last ended, in nanoseconds since 1970.
    """

    def __init__(self, *, timed: bool = False) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.counts = dict.fromkeys(COUNTS, 0)
        self.spans: dict[str, tuple[int, int]] = {}
        self._timed = timed

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes, whether it raises or not."""
        began, at = time.perf_counter(), time.time_ns() if self._timed else 0
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began
            if self._timed:
                self.spans[name] = (self.spans.get(name, (at, 0))[0], time.time_ns())


class Telemetry:
    """Reports batches: what one has to say travels over stdout to the frontend, in one write.

    TorchServe's own metrics cache writes, and wakes the frontend, for every metric.
    See: ts/metrics/caching_metric.py, and Metric.java, which reads the lines.

    Args:
        model_name: becomes a dimension of each metric.
    """

    def __init__(self, model_name: str) -> None:
        self._dimensions = f"|#ModelName:{model_name},Level:Model|#type:"
        self._host = socket.gethostname()
        # Metrics of others are log lines at INFO; the rest of TorchServe's logging is quietened.
        logging.getLogger("ts.metrics.caching_metric").setLevel(logging.INFO)

    def report(self, batch: BatchMetrics) -> None:
        """Report one batch."""
        said = [(f"{name}.s:{seconds:.6f}", "HISTOGRAM") for name, seconds in batch.seconds.items()]
        said += [
            (f"{name}.count:{count}", "COUNTER") for name, count in batch.counts.items() if count
        ]
        end = f"|#hostname:{self._host},{int(time.time())}\n"
        sys.stdout.write(
            "".join(f"[METRICS]{what}{self._dimensions}{kind}{end}" for what, kind in said)
        )
        sys.stdout.flush()
