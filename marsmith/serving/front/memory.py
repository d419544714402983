"""The memory of a server's processes, for Prometheus: looked at when it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marsmith.serving.host.processes import family

WORKER = "worker"


class Memory(Collector):
    """What each kind of process has in memory.

    Args:
        temp_dir: the server's, by which its processes are found.
    """

    def __init__(self, temp_dir: Path) -> None:
        self._temp_dir = temp_dir

    def describe(self) -> list[Metric]:
        """The metric without its values, which cost a look at all processes."""
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        """Yield the metric."""
        sizes: Counter[str] = Counter({"supervisor": psutil.Process().memory_info().rss})
        for process in family(self._temp_dir):
            with suppress(psutil.Error):  # it has ended
                name = process.name()
                kind = WORKER if name.startswith(("python", "pt_main")) else name
                sizes[kind] += process.memory_info().rss
        found = self._family()
        for kind, size in sizes.items():
            found.add_metric([kind], size)
        yield found

    @staticmethod
    def _family() -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "marsmith_resident_memory_bytes",
            "What the server's processes have in memory, shared pages once for each.",
            labels=["process"],
        )
