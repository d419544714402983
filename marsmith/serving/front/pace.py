"""What each model can do, and so how much of it may be on its way; as metrics, too."""

from __future__ import annotations

import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from marsmith.serving.front.access import AccessLog
from marsmith.serving.front.concurrency import ConcurrencyLimit
from marsmith.serving.front.front import HAProxy
from marsmith.serving.host.plan import Plan

PACE_S = 1.0
GAUGES = {
    "workers_ready": "Workers that have loaded the model.",
    "queue_length": "Requests that wait in the front.",
    "requests_in_flight": "Requests that are not answered yet, waiting or not.",
    "concurrency_limit": "Requests that may be on their way.",
}


class Pace:
    """The pace of all models of a server.

    Args:
        plan: the server's.
        access: counts what was answered.
        registry: takes the metrics.
    """

    def __init__(self, plan: Plan, access: AccessLog, registry: CollectorRegistry) -> None:
        self._limits = {
            model.name: ConcurrencyLimit(model.at_once, model.most, model.queue_timeout_s)
            for model in plan.models
        }
        self._access = access
        self._gauges = {
            name: Gauge(f"marsmith_{name}", about, ["model"], registry=registry)
            for name, about in GAUGES.items()
        }
        self._since, self._before = time.monotonic(), access.completed()
        self._waited: set[str] = set()

    def begin(self, rates: Mapping[str, float]) -> None:
        """Take what is known before the first request: requests per second, by model."""
        for name, rate in rates.items():
            self._limits[name].rate = rate

    def measure(self, haproxy: HAProxy, ready: Mapping[str, int]) -> None:
        """Measure once a second, and tell the front how much may be on its way.

        Args:
            haproxy: the front.
            ready: workers that are ready, by model.
        """
        seconds = time.monotonic() - self._since
        if seconds < PACE_S:
            return
        answered, loads = self._access.completed(), haproxy.loads()
        waits = {name for name, load in loads.items() if load.waiting}
        for name, limit in self._limits.items():
            new = answered[name] - self._before[name]
            limit.observe(new, seconds, waiting=name in waits & self._waited)
            figures = (ready.get(name, 0), loads[name].waiting, loads[name].requests)
            for gauge, figure in zip(GAUGES, (*figures, limit.requests()), strict=True):
                self._gauges[gauge].labels(name).set(figure)
        self._since, self._before, self._waited = time.monotonic(), answered, waits
        haproxy.tell("limit", {name: str(limit.requests()) for name, limit in self._limits.items()})
        retries = {name: str(limit.retry_after_s()) for name, limit in self._limits.items()}
        haproxy.tell("retry", retries)
