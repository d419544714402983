from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("simpy")

from benchmarks.scale.checking import compare, service_of, simulate

MEASURED: dict[str, Any] = {
    "service": {"1": [0.02, 0.03], "4": [0.04, 0.06]},
    "settings": {
        "batch_size": 4, "delay_s": 0.001, "workers": 2, "limit": 64,
        "request_s": 0.001, "batch_s": 0.002, "later_s": 0.0,
    },
    "idle_share": 0.02,
    "client_s": 0.0005,
    "beyond": [0.001, 0.002],
}  # fmt: skip
RUNS = [
    {"replicas": 1, "connections": 8, "rate": 0.0, "seeds": [0], "seconds": 8.0},
    {"replicas": 1, "connections": 0, "rate": 40.0, "seeds": [1], "seconds": 10.0},
    {"replicas": 2, "connections": 0, "rate": 40.0, "seeds": [2, 3], "seconds": 10.0},
]


def measured(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """As if the model were the server."""
    found = []
    for run in runs:
        per_s = run["rate"] * run["replicas"] or 1.0
        found.append({**run, **simulate(MEASURED, {**run, "per_s": per_s}, 9)._asdict()})
    return {**MEASURED, "runs": found}


def test_batches_take_what_was_measured_and_in_between_in_proportion() -> None:
    draw, chance = service_of(MEASURED["service"]), random.Random(0)
    assert {draw(1, chance) for _ in range(20)} == {0.02, 0.03}
    assert {draw(4, chance) for _ in range(20)} == {0.04, 0.06}
    mean = sum(draw(2, chance) for _ in range(4000)) / 4000
    assert mean == pytest.approx(0.025 + (0.05 - 0.025) / 3, rel=0.02)


def test_a_server_that_is_the_model_is_within_the_bounds_and_a_slower_one_is_not() -> None:
    same = measured(RUNS)
    lines, good = compare(same)
    assert good, lines
    assert len(lines) == 2 + len(RUNS)
    slower = {**same, "service": {n: [2 * s for s in each] for n, each in same["service"].items()}}
    lines, good = compare(slower)
    assert not good, lines
