"""Where spans go: a bounded queue, a thread, OTLP over HTTP; apart from `telemetry`, as importing it takes time."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from webstore_chassis.metrics import SPANS

_ended = SPANS.labels("ended")


class _Counting(BatchSpanProcessor):
    """Counts what it is given: what is neither sent nor failed later was dropped by the full queue."""

    def on_end(self, span: ReadableSpan) -> None:
        _ended.inc()
        super().on_end(span)


class _Exporter(SpanExporter):
    """Counts what arrived, and what did not."""

    def __init__(self) -> None:
        self._otlp = OTLPSpanExporter()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._otlp.export(spans)
        SPANS.labels("sent" if result is SpanExportResult.SUCCESS else "failed").inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._otlp.shutdown()  # type: ignore[no-untyped-call]


def processor() -> BatchSpanProcessor:
    """What takes the spans of a process; the OTEL_EXPORTER_OTLP_… and OTEL_BSP_… variables configure it."""
    return _Counting(_Exporter())
