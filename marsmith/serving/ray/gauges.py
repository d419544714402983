"""What a worker reports of its batches, as metrics of Ray's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from marsmith.harness.telemetry import Metric

if TYPE_CHECKING:
    from ray.util import metrics

SECONDS = {
    "PreprocessTime": "marsmith_preprocess_seconds",
    "InferenceTime": "marsmith_inference_seconds",
    "PostprocessTime": "marsmith_postprocess_seconds",
}
COUNTS = {
    "Instances": "marsmith_instances",
    "RefusedRequests": "marsmith_refused_requests",
    "FailedRequests": "marsmith_failed_requests",
    "Tokens": "marsmith_tokens",
}
BOUNDARIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class Gauges:
    """The metrics of one model, with its name as the tag `model`.

    See: handlers/telemetry.py, which writes what is read here.
    """

    def __init__(self, model: str) -> None:
        from ray.util import metrics

        self._timers: dict[str, metrics.Histogram] = {}
        self._counters: dict[str, metrics.Counter] = {}
        for name, ours in SECONDS.items():
            said = "of a batch, in a worker"
            self._timers[name] = metrics.Histogram(ours, said, list(BOUNDARIES), ("model",))
        for name, ours in COUNTS.items():
            self._counters[name] = metrics.Counter(ours, "in all, of a worker", ("model",))
        for metric in (*self._timers.values(), *self._counters.values()):
            metric.set_default_tags({"model": model})

    def count(self, log: Iterable[str]) -> None:
        """Count what is reported in the lines of a worker's log."""
        for line in log:
            found = Metric.parse(line)
            if found and found.name in self._timers:
                self._timers[found.name].observe(found.value)
            elif found and found.name in self._counters and found.value > 0:
                self._counters[found.name].inc(found.value)
