"""Spans of a real worker, as a collector that speaks OTLP receives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.digits import held_out
from handlers import tracing
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from tests.support.collector import Collector, collecting
from tests.support.waiting import wait_until

TRACES = ("0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319d")
PARENT = "b7ad6b7169203331"
IMAGE = held_out()[0][0]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting(monkeypatch) as found:
        yield found


def test_each_request_of_a_batch_is_in_its_callers_trace(
    collector: Collector, digits_archive: Path
) -> None:
    with Harness(digits_archive, batch_size=3) as worker:
        headers = [{"traceparent": f"00-{trace}-{PARENT}-01"} for trace in TRACES]
        asked = [Request.raw(IMAGE, headers=each) for each in headers]
        asked.append(Request.raw(b"no image", headers=headers[0]))
        statuses = [each.status for each in worker.predict(asked)]
        wait_until(lambda: len(collector.spans) >= 4 * len(asked))
    assert statuses == [200, 200, 415]
    roots = [span for span in collector.spans if span.parent_span_id.hex() == PARENT]
    assert sorted(span.trace_id.hex() for span in roots) == sorted([*TRACES, TRACES[0]])
    for root in roots:
        assert root.name == "predict digits"
        inside = [span for span in collector.spans if span.parent_span_id == root.span_id]
        assert {span.name for span in inside} == {"preprocess", "inference", "postprocess"}
        for span in inside:
            assert span.trace_id == root.trace_id
            assert root.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= root.end_time_unix_nano
        said = {each.key: each.value.int_value for each in root.attributes}
        assert said["marsmith.batch.requests"] == 3
        assert said["http.response.status_code"] in statuses
    assert collector.services == {"marsmith"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nobody_is_told_unless_the_environment_says_whom(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in tracing.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tracing.begin("digits") is None
