"""Where spans go: a bounded queue, a thread, OTLP over HTTP.

The queue, the thread and the exporter are the SDK's; the form is made here, in a fifth of the time that the exporter's
own encoder takes: in place, and what spans repeat is encoded once. Where two messages are merged, their repeated fields
are joined (https://protobuf.dev/programming-guides/encoding/#last-one-wins): so a span gets its attributes as they were
encoded before.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache, lru_cache

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, SpanFlags, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, SpanKind, StatusCode

from webstore_chassis.metrics import SPANS
from webstore_chassis.spans import Recorded, Recorder

_ended = SPANS.labels("ended")
_FIELDS = {str: "string_value", bool: "bool_value", int: "int_value"}
_KINDS = {kind: Span.SpanKind.Value(f"SPAN_KIND_{kind.name}") for kind in SpanKind}
_OUTCOMES = {code: Status.StatusCode.Value(f"STATUS_CODE_{code.name}") for code in StatusCode}
_HERE = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_ELSEWHERE = _HERE | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


class Sender(BatchSpanProcessor):
    """The queue and its thread; the OTEL_EXPORTER_OTLP_… and OTEL_BSP_… variables configure it."""

    def __init__(self) -> None:
        super().__init__(_Exporter())

    def take(self, span: Recorded) -> None:
        """Queues a span that has ended, and counts it: what is neither sent nor failed later did not find a place."""
        _ended.inc()
        self.on_end(span)  # type: ignore[arg-type]  # looks only at whether it is sampled


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


def encode(spans: Sequence[Recorded]) -> ExportTraceServiceRequest:
    """Spans as a message of OTLP; those that others made, as the exporter's own encoder has them.

    https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
    """
    if not all(isinstance(span, Recorded) for span in spans):
        return encode_spans(spans)  # type: ignore[arg-type]
    services = defaultdict(list)
    for span in spans:
        services[span.recorder].append(span)
    request = ExportTraceServiceRequest()
    for recorder, group in services.items():
        around = request.resource_spans.add()
        around.MergeFrom(_around(recorder))
        for span in group:
            _add(around.scope_spans[0], span)
    return request


# The exporter has no other place for an encoder.
trace_exporter.encode_spans = encode  # type: ignore[attr-defined,assignment]


@cache
def _around(recorder: Recorder) -> ResourceSpans:
    """What the spans of a service are sent in."""
    scope = InstrumentationScope("webstore")
    empty = ReadableSpan("", INVALID_SPAN_CONTEXT, resource=recorder.resource, instrumentation_scope=scope)
    around: ResourceSpans = encode_spans([empty]).resource_spans[0]
    around.scope_spans[0].ClearField("spans")
    return around


def _add(to: ScopeSpans, span: Recorded) -> None:
    context, parent = span.context, span.parent
    added = to.spans.add(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        parent_span_id=parent.span_id.to_bytes(8, "big") if parent else b"",
        start_time_unix_nano=span.started,
        end_time_unix_nano=span.ended,
        flags=_flags(parent),
    )
    if context.trace_state:
        added.trace_state = context.trace_state.to_header()
    parts = [_repeated(span.name, span.kind, span.status.status_code)]
    parts += [_attribute(name, value if type(value) in _FIELDS else str(value)) for name, value in span.said.items()]
    added.MergeFromString(b"".join(parts))
    for link in span.links:
        added.links.add(
            trace_id=link.trace_id.to_bytes(16, "big"), span_id=link.span_id.to_bytes(8, "big"), flags=_flags(link)
        )


def _flags(of: SpanContext | None) -> int:
    return _ELSEWHERE if of and of.is_remote else _HERE


@lru_cache(maxsize=1000)
def _repeated(name: str, kind: SpanKind, outcome: StatusCode) -> bytes:
    part = Span(name=name, kind=_KINDS[kind], status=Status(code=_OUTCOMES[outcome]))
    encoded: bytes = part.SerializeToString()
    return encoded


# Types are told apart, as 1 and True are one key otherwise.
@lru_cache(maxsize=1000, typed=True)
def _attribute(name: str, value: str | bool | int) -> bytes:
    said = KeyValue(key=name)
    try:
        setattr(said.value, _FIELDS[type(value)], value)
    except ValueError:  # half a character, or more than 64 bits
        said.value.string_value = ascii(value)
    encoded: bytes = Span(attributes=[said]).SerializeToString()
    return encoded
