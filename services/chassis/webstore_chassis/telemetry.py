"""OpenTelemetry, set up by opentelemetry-distro from the standard OTEL_… variables; off unless an endpoint is given.

Trace context travels in HTTP headers (by the instrumentation of FastAPI and httpx), and in the journal's metadata
and the messages' headers (by `inject` and `span` here), as W3C traceparent (https://www.w3.org/TR/trace-context/).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fastapi import FastAPI
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind
from sqlalchemy.ext.asyncio import AsyncEngine

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_tracer = trace.get_tracer("webstore")


def enabled() -> bool:
    """Whether an endpoint for spans is given."""
    return any(os.environ.get(name) for name in _ENDPOINTS) and os.environ.get("OTEL_SDK_DISABLED") != "true"


def configure(service: str) -> None:
    """Sets up the SDK for this process; without an endpoint it does nothing, and costs nothing later."""
    if not enabled():
        return
    from opentelemetry.distro import OpenTelemetryConfigurator, OpenTelemetryDistro
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    os.environ.setdefault("OTEL_SERVICE_NAME", service)
    os.environ.setdefault("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    os.environ.setdefault("OTEL_METRICS_EXPORTER", "none")
    os.environ.setdefault("OTEL_LOGS_EXPORTER", "none")
    OpenTelemetryDistro().configure()
    OpenTelemetryConfigurator().configure()  # type: ignore[no-untyped-call]
    HTTPXClientInstrumentor().instrument()


def instrument(app: FastAPI, engine: AsyncEngine) -> None:
    """Traces an application's requests and its database's statements (their text, never their values)."""
    if not enabled():
        return
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    FastAPIInstrumentor.instrument_app(app, excluded_urls="livez,readyz,metrics", exclude_spans=["receive", "send"])
    SQLAlchemyInstrumentor().instrument(engine=engine.sync_engine)


def inject() -> dict[str, str]:
    """The trace context at hand, as headers; empty when there is none."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


@contextmanager
def span(name: str, kind: SpanKind, headers: Mapping[str, str], **attributes: str | int) -> Iterator[None]:
    """A span whose parent is the trace context in the headers.

    Args:
        attributes: dots of the semantic conventions' names are written as `__`.
    """
    with _tracer.start_as_current_span(
        name,
        context=propagate.extract(headers),
        kind=kind,
        attributes={key.replace("__", "."): value for key, value in attributes.items()},
    ):
        yield
