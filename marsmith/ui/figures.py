"""What a server's metrics say, as the page draws it: totals since it started, and what is now."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

NOW = {
    "marsmith_queue_length": "queue",
    "marsmith_requests_in_flight": "in_flight",
    "marsmith_concurrency_limit": "limit",
    "marsmith_workers_ready": "workers",
}


@dataclass
class Figures:
    """Of one model.

    Attributes:
        requests: how many by status, such as "200".
        refusals: how many the front refused, by reason.
        buckets: how many requests took at most so many seconds, by their bounds, cumulative.
        now: of each of `NOW`'s values that is known.
        versions: those that have answered.
    """

    requests: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    refusals: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    buckets: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    now: dict[str, float] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)


def read(text: str) -> dict[str, Figures]:
    """Read what Prometheus would scrape; the figures by model."""
    found: dict[str, Figures] = defaultdict(Figures)
    # TorchServe's own metrics come behind ours, and are not of use here.
    ours = "\n".join(line for line in text.splitlines() if "marsmith_" in line)
    for family in text_string_to_metric_families(f"{ours}\n"):
        for name, labels, value, *_ in family.samples:
            if "model" not in labels:
                continue
            model = found[labels["model"]]
            if name == "marsmith_requests_total":
                model.requests[labels["status"]] += value
                if (version := labels["version"]) not in (*model.versions, "", "-"):
                    model.versions.append(version)
            elif name == "marsmith_refusals_total":
                model.refusals[labels["reason"]] += value
            elif name == "marsmith_request_duration_seconds_bucket":
                model.buckets[labels["le"]] += value
            elif name in NOW:
                model.now[NOW[name]] = value
    return dict(found)
