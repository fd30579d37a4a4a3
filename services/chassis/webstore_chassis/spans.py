"""Where spans go: a bounded queue, a thread, OTLP over HTTP; apart from `telemetry`, as importing it takes time."""

from collections.abc import Sequence
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from webstore_chassis.metrics import SPANS
from webstore_chassis.otlp import encode

# The exporter has no other place for an encoder.
trace_exporter.encode_spans = encode  # type: ignore[attr-defined]

_ended = SPANS.labels("ended")


class _Counting(BatchSpanProcessor):
    """Counts what it is given: what is neither sent nor failed later was dropped by the full queue."""

    def on_end(self, span: ReadableSpan) -> None:
        _ended.inc()
        super().on_end(span)


class _Exporter(SpanExporter):
    """Counts what arrived, and what did not."""

    def __init__(self) -> None:
        self._otlp = trace_exporter.OTLPSpanExporter()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._otlp.export(spans)
        SPANS.labels("sent" if result is SpanExportResult.SUCCESS else "failed").inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._otlp.shutdown()  # type: ignore[no-untyped-call]


class _Resource(Resource):
    """One of a few that are never made twice: telling them apart need not write each as JSON, once a span."""

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def provider(service: str, processor: SpanProcessor) -> TracerProvider:
    """What makes the spans of a service; OTEL_TRACES_SAMPLER… and OTEL_RESOURCE_ATTRIBUTES configure it."""
    resource = Resource.create({"service.name": service, "service.version": version("webstore-chassis")})
    made = TracerProvider(resource=_Resource(resource.attributes, resource.schema_url), shutdown_on_exit=False)
    made.add_span_processor(processor)
    return made


def processor() -> BatchSpanProcessor:
    """What takes the spans of a process; the OTEL_EXPORTER_OTLP_… and OTEL_BSP_… variables configure it."""
    return _Counting(_Exporter())
