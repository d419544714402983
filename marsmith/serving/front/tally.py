"""Counts of requests for Prometheus: plain numbers while they come, metrics when they are read.

A request is counted some thousand times a second beside a model that needs the cores; the client
library's own counters cost ten times as much.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

# A request of a small model takes a millisecond, one that writes a text a minute.
BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5,
    0.75, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0,
)  # fmt: skip
BOUNDS = [*map(str, BUCKETS), "+Inf"]


class Distribution:
    """How long something took, each time."""

    def __init__(self) -> None:
        self.counts = [0] * len(BOUNDS)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count it once more."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


class Tally(Collector):
    """What Prometheus is told of requests.

    Attributes:
        requests: by model, version and status.
        refusals: by model and reason.
        seconds: in all, by model, version and route.
        waited: in the front, by model.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.refusals: Counter[tuple[str, str]] = Counter()
        self.seconds: defaultdict[tuple[str, str, str], Distribution] = defaultdict(Distribution)
        self.waited: defaultdict[tuple[str], Distribution] = defaultdict(Distribution)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        requests = CounterMetricFamily(
            "marsmith_requests",
            "Requests by their answer's status.",
            labels=["model", "version", "status"],
        )
        refusals = CounterMetricFamily(
            "marsmith_refusals",
            "Requests that the front refused, by reason.",
            labels=["model", "reason"],
        )
        for family, counts in ((requests, self.requests), (refusals, self.refusals)):
            for labels, count in list(counts.items()):
                family.add_metric(labels, count)
            yield family
        seconds = HistogramMetricFamily(
            "marsmith_request_duration_seconds",
            "From a request's first byte to its answer's last.",
            labels=["model", "version", "route"],
        )
        waited = HistogramMetricFamily(
            "marsmith_queue_duration_seconds",
            "What a request waited in the front.",
            labels=["model"],
        )
        for histogram, known in ((seconds, self.seconds), (waited, self.waited)):
            for labels, found in list(known.items()):
                totals = list(zip(BOUNDS, accumulate(found.counts), strict=True))
                histogram.add_metric(labels, totals, found.sum)
            yield histogram
