"""What the page draws of a server's metrics."""

from __future__ import annotations

from marsmith.ui.figures import read

SCRAPED = """\
# HELP marsmith_requests_total Requests by their answer's status.
# TYPE marsmith_requests_total counter
marsmith_requests_total{model="digits",status="200",version="1.0"} 7.0
marsmith_requests_total{model="digits",status="200",version="2.0"} 2.0
marsmith_requests_total{model="digits",status="401",version="-"} 1.0
# TYPE marsmith_refusals_total counter
marsmith_refusals_total{model="digits",reason="key"} 1.0
# TYPE marsmith_request_duration_seconds histogram
marsmith_request_duration_seconds_bucket{le="0.1",model="digits",route="a",version="1.0"} 3.0
marsmith_request_duration_seconds_bucket{le="0.1",model="digits",route="b",version="1.0"} 1.0
marsmith_request_duration_seconds_bucket{le="+Inf",model="digits",route="a",version="1.0"} 9.0
# TYPE marsmith_workers_ready gauge
marsmith_workers_ready{model="digits"} 2.0
marsmith_queue_length{model="wide"} 3.0
marsmith_restarts_total{what="haproxy"} 0.0
# TYPE ts_queue_latency_microseconds counter
ts_queue_latency_microseconds{model_name="digits",} 1.0
"""


def test_the_figures_of_each_model_are_summed_over_versions_and_routes() -> None:
    found = read(SCRAPED)
    assert set(found) == {"digits", "wide"}
    assert found["digits"].requests == {"200": 9, "401": 1}
    assert found["digits"].refusals == {"key": 1}
    assert found["digits"].buckets == {"0.1": 4, "+Inf": 9}
    assert found["digits"].now == {"workers": 2}
    assert found["digits"].versions == ["1.0", "2.0"]
    assert found["wide"].now == {"queue": 3}


def test_no_metrics_are_no_figures() -> None:
    assert read("") == {}
