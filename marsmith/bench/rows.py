"""The figures that people read, by name."""

from __future__ import annotations

from collections.abc import Callable

from marsmith.bench.figures import Summary
from marsmith.bench.measure import Measured

Figure = Callable[[Summary], float | None]


def rows(measured: Measured) -> list[tuple[str, Figure]]:
    """Each figure's name, and how it is had of a run; one may have none."""
    slo = measured.slo_ms or 0
    return [
        ("answers/s", lambda run: run.per_s),
        (f"within {slo:g} ms, answers/s", lambda run: run.within_per_s),
        ("tokens/s", lambda run: run.tokens_per_s),
        ("p50 ms", lambda run: run.p50_ms),
        ("p90 ms", lambda run: run.p90_ms),
        ("p99 ms", lambda run: run.p99_ms),
        ("p99.9 ms", lambda run: run.p999_ms if run.requests >= 1000 else None),
        ("first byte p50 ms", lambda run: run.first_p50_ms if run.tokens_per_s else None),
        ("first byte p99 ms", lambda run: run.first_p99_ms if run.tokens_per_s else None),
        ("sent late, p99 ms", lambda run: run.lag_p99_ms),
        ("failed", lambda run: float(sum(run.errors.values()))),
    ]
