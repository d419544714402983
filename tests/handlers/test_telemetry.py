from __future__ import annotations

import pytest

from handlers.telemetry import STAGES, BatchMetrics, Telemetry
from tests.support.metrics_cache import MetricsCache


def test_a_batch_reports_every_stage_once_and_what_there_was_to_count() -> None:
    cache, batch = MetricsCache(), BatchMetrics()
    for _ in range(3):
        with batch.stage("InferenceTime"):
            pass
    batch.counts["Instances"] += 7
    Telemetry(cache, "cats").report(batch)
    assert [name for name, _ in cache.reported] == [*STAGES, "Instances"]
    reported = dict(cache.reported)
    assert (reported["Instances"], reported["PreprocessTime"]) == (7, 0)


def test_a_stage_that_fails_has_taken_its_time() -> None:
    batch = BatchMetrics()
    with pytest.raises(KeyError), batch.stage("InferenceTime"):
        raise KeyError
    assert batch.seconds["InferenceTime"] > 0
    assert batch.seconds["PreprocessTime"] == 0
