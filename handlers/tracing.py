"""Spans of OpenTelemetry: what the stages of a batch took, within the traces of who asked.

They are made where the environment says where they go, by OpenTelemetry's own variables; without
that nothing of it is imported.

See: https://opentelemetry.io/docs/specs/otel/protocol/exporter and
https://www.w3.org/TR/trace-context.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
Stages = Mapping[str, tuple[int, int]]


class Traced(Protocol):
    """The part of an exchange that is told."""

    trace: Mapping[str, str]
    status: int


class Tracing:
    """Tells a collector of requests.

    Args:
        tracer: of OpenTelemetry's SDK.
        propagator: reads the headers of a caller's trace.
        model: the model's name.
    """

    def __init__(self, tracer: Any, propagator: Any, model: str) -> None:
        self._tracer, self._propagator, self._model = tracer, propagator, model

    def report(self, stages: Stages, exchanges: Sequence[Traced]) -> None:
        """Tell of a batch: a span for each request, with one for each stage in it.

        Args:
            stages: when each began and ended, in nanoseconds since 1970.
            exchanges: the requests of the batch, answered.
        """
        if not stages:
            return
        began = min(start for start, _ in stages.values())
        ended = max(end for _, end in stages.values())
        told = {"marsmith.model": self._model, "marsmith.batch.requests": len(exchanges)}
        for exchange in exchanges:
            caller = self._propagator.extract(exchange.trace)
            answered = {**told, "http.response.status_code": int(exchange.status)}
            span = self._tracer.start_span(
                f"predict {self._model}", caller, attributes=answered, start_time=began
            )
            within = self._within(span)
            for name, (start, end) in stages.items():
                stage = name.removesuffix("Time").lower()
                self._tracer.start_span(stage, within, start_time=start).end(end)
            span.end(ended)

    def report_text(
        self, exchange: Traced, *, began: int, first: int | None, tokens: int, ended: str
    ) -> None:
        """Tell of a text that was written: a span, with its first token as an event.

        Args:
            exchange: the request.
            began: when it came, in nanoseconds since 1970.
            first: when its first token was there; None if it got none.
            tokens: how many were written.
            ended: "answered", "failed", or "abandoned" by its client, who hung up.
        """
        told: dict[str, str | int] = {
            "marsmith.model": self._model,
            "marsmith.ended": ended,
            "gen_ai.usage.output_tokens": tokens,
            "http.response.status_code": int(exchange.status),
        }
        caller = self._propagator.extract(exchange.trace)
        span = self._tracer.start_span(
            f"predict {self._model}", caller, attributes=told, start_time=began
        )
        if first is not None:
            span.add_event("first token", timestamp=first)
        span.end()

    @staticmethod
    def _within(span: Any) -> Any:
        from opentelemetry.trace import set_span_in_context

        return set_span_in_context(span)


def begin(model: str) -> Tracing | None:
    """Begin to tell of a model's requests; None where nobody is to be told."""
    named = any(os.environ.get(name) for name in ENDPOINTS)
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not named or off or os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    try:
        return Tracing(*_connected(), model)
    except ImportError as error:  # a server serves without them, too
        hint = "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
        logger.warning("no spans are sent: %s; %s", error, hint)
        return None


def _connected() -> tuple[Any, Any]:
    """A tracer that exports, and what reads the headers of traces."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    usual = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "marsmith"}
    provider = TracerProvider(resource=Resource.create(usual))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("marsmith"), TraceContextTextMapPropagator()
