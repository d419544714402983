"""Spans of a real worker, as a collector that speaks OTLP receives them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from examples.digits import held_out
from handlers import tracing
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from tests.support.waiting import wait_until

TRACES = ("0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319d")
PARENT = "b7ad6b7169203331"
IMAGE = held_out()[0][0]


class Collector(ThreadingHTTPServer):
    """Takes spans at /v1/traces, as a collector does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.spans: list[Any] = []
        self.services: set[str] = set()


class _Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.server.services.add(named["service.name"])
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{found.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield found
        found.shutdown()


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
