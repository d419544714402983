from __future__ import annotations

import pytest

from benchmarks.scale.measuring import Spent, differences, others


def used(
    idle: float, batch: float, request: float, *loads: tuple[float, int, int]
) -> list[tuple[Spent, int]]:
    return [
        (Spent(wall, idle * wall + batch * batches + request * answered, 0.0, batches), answered)
        for wall, batches, answered in loads
    ]


LOADS = ((30.0, 0, 0), (30.0, 900, 900), (30.0, 300, 2400), (120.0, 3000, 4500))


def test_what_a_batch_costs_beside_its_worker_is_not_taken_for_its_requests() -> None:
    found = others(used(0.02, 0.004, 0.0005, *LOADS))
    assert found == pytest.approx({"idle_share": 0.02, "batch_s": 0.004, "request_s": 0.0005})


def test_nothing_costs_less_than_nothing() -> None:
    found = others(used(0.02, 0.004, -0.0002, *LOADS))
    assert found["request_s"] == 0
    assert found["batch_s"] == pytest.approx(0.004, rel=0.2)


def test_what_a_lone_client_does_not_wait_for_comes_after_its_answer() -> None:
    own = {"delay_s": 0.001, "request_s": 0.001, "batch_s": 0.004}
    assert differences([0.018] * 9, [0.01] * 9, own) == pytest.approx([0.002] * 50)
    assert own["later_s"] == 0
    assert differences([0.013] * 9, [0.01] * 9, own) == pytest.approx([0.0] * 50)
    assert own["batch_s"] == pytest.approx(0.001)
    assert own["later_s"] == pytest.approx(0.003)
