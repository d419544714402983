"""A worker's own metrics, for Prometheus: one set per batch, through TorchServe's metrics cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ts.metrics.metric_type_enum import MetricTypes

STAGES = ("PreprocessTime", "InferenceTime", "PostprocessTime")
COUNTS = ("Instances", "RefusedRequests", "FailedRequests", "Tokens")
DIMENSIONS = ["ModelName", "Level"]


class ReportedMetric(Protocol):
    """The part of a TorchServe metric that is used."""

    def add_or_update(self, value: float, dimension_values: list[str], /) -> None: ...  # noqa: D102


class MetricsCache(Protocol):
    """The part of TorchServe's metrics cache that is used."""

    def add_metric_to_cache(  # noqa: D102
        self, metric_name: str, unit: str, dimension_names: list[str], metric_type: object, /
    ) -> ReportedMetric: ...


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
    """Reports batches: every line travels over stdout to the frontend.

    Args:
        cache: TorchServe's metrics cache.
        model_name: becomes a dimension of each metric.
    """

    def __init__(self, cache: MetricsCache, model_name: str) -> None:
        self.dimensions = [model_name, "Model"]
        self.timers = {
            name: cache.add_metric_to_cache(name, "s", DIMENSIONS, MetricTypes.HISTOGRAM)
            for name in STAGES
        }
        self.counters = {
            name: cache.add_metric_to_cache(name, "count", DIMENSIONS, MetricTypes.COUNTER)
            for name in COUNTS
        }
        # Metrics are log lines at INFO; the rest of TorchServe's logging is quietened.
        logging.getLogger("ts.metrics.caching_metric").setLevel(logging.INFO)

    def report(self, batch: BatchMetrics) -> None:
        """Report one batch."""
        for name, seconds in batch.seconds.items():
            self.timers[name].add_or_update(round(seconds, 6), self.dimensions)
        for name, count in batch.counts.items():
            if count:
                self.counters[name].add_or_update(count, self.dimensions)
