"""What came of a run of a load, as if it had been measured."""

from __future__ import annotations

from collections.abc import Mapping

from marsmith.bench.figures import Summary


def summary(per_s: float, p99_ms: float = 10.0, errors: Mapping[str, int] = {}) -> Summary:
    """A run of one second that answered so often, 99 of 100 within some milliseconds."""
    return Summary(
        requests=100, seconds=1, per_s=per_s, p50_ms=p99_ms / 2, p90_ms=p99_ms, p99_ms=p99_ms,
        p999_ms=p99_ms, within_per_s=None, first_p50_ms=1, first_p99_ms=1, tokens_per_s=None,
        errors=errors, lag_p99_ms=0, overloaded=False,
    )  # fmt: skip
