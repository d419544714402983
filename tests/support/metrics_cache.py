"""What TorchServe keeps metrics in, for handlers that no TorchServe runs."""

from __future__ import annotations

from typing import Any


class MetricsCache:
    """TorchServe's metrics cache, as far as it is used; keeps what is reported."""

    def __init__(self) -> None:
        self.reported: list[tuple[str, float]] = []

    def add_metric_to_cache(self, name: str, *_: object) -> Any:
        cache = self

        class Metric:
            def add_or_update(self, value: float, dimensions: list[str]) -> None:
                cache.reported.append((name, value))

        return Metric()
