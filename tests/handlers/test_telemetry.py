from __future__ import annotations

import io
import sys

import pytest

from handlers.telemetry import STAGES, BatchMetrics, Telemetry
from marsmith.harness.telemetry import Metric


class Pipe(io.StringIO):
    """Stdout, as the frontend has it: it gets what is flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def flush(self) -> None:
        self.writes.append(self.getvalue())
        self.truncate(0)
        self.seek(0)


def test_a_batch_reports_every_stage_once_and_what_there_was_to_count_in_one_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch, pipe = BatchMetrics(), Pipe()
    for _ in range(3):
        with batch.stage("InferenceTime"):
            pass
    batch.counts["Instances"] += 7
    batch.seconds["PostprocessTime"] = 12.5
    monkeypatch.setattr(sys, "stdout", pipe)
    Telemetry("cats").report(batch)
    (written,) = pipe.writes
    found = [metric for line in written.splitlines() if (metric := Metric.parse(line))]
    assert [metric.name for metric in found] == [*STAGES, "Instances"]
    assert {metric.name: metric.value for metric in found if metric.name != "InferenceTime"} == {
        "PreprocessTime": 0,
        "PostprocessTime": 12.5,
        "Instances": 7,
    }
    assert {metric.unit for metric in found} == {"s", "count"}
    assert all(metric.dimensions == {"ModelName": "cats", "Level": "Model"} for metric in found)
    assert len(found) == len(written.splitlines())


def test_a_stage_that_fails_has_taken_its_time() -> None:
    batch = BatchMetrics()
    with pytest.raises(KeyError), batch.stage("InferenceTime"):
        raise KeyError
    assert batch.seconds["InferenceTime"] > 0
    assert batch.seconds["PreprocessTime"] == 0
