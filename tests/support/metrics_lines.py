"""The lines in which a worker tells TorchServe its metrics."""

from __future__ import annotations

from marsmith.harness.telemetry import Metric


def reported(printed: str) -> list[tuple[str, float]]:
    """The names and values of the metrics in what a worker has printed."""
    found = map(Metric.parse, printed.splitlines())
    return [(metric.name, metric.value) for metric in found if metric]
