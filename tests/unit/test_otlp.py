"""Spans as they are sent: what the exporter's own encoder makes of them, and that it is ours which is used."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from webstore_chassis import spans as _  # noqa: F401 - puts it in place
from webstore_chassis.otlp import encode

contexts = st.builds(
    SpanContext,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.just(TraceFlags(TraceFlags.SAMPLED)),
    trace_state=st.sampled_from([TraceState(), TraceState([("a", "1"), ("b", "2")])]),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(texts, max_size=3),
    st.sampled_from([0, False, 0.0, 1, True, 1.0, ""]),
)
attributes = st.dictionaries(st.sampled_from(["url.path", "http.route", "db.query.text", "n"]), values)
statuses = st.sampled_from([None, Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "why")])
drawn = st.fixed_dictionaries(
    {
        "service": st.sampled_from(["order", "product"]),
        "name": texts,
        "kind": st.sampled_from(SpanKind),
        "parent": st.none() | contexts,
        "attributes": attributes,
        "links": st.lists(contexts, max_size=4),
        "status": statuses,
    }
)


def made(descriptions: list[dict[str, Any]]) -> tuple[ReadableSpan, ...]:
    """The spans, by the SDK; it keeps three attributes of each, and three links."""
    memory = InMemorySpanExporter()
    providers = {}
    for each in descriptions:
        service = each["service"]
        if service not in providers:
            limits = SpanLimits(max_span_attributes=3, max_links=3)
            providers[service] = TracerProvider(resource=Resource({"service.name": service}), span_limits=limits)
            providers[service].add_span_processor(SimpleSpanProcessor(memory))
        around = set_span_in_context(NonRecordingSpan(each["parent"])) if each["parent"] else None
        links = [Link(context) for context in each["links"]]
        tracer = providers[service].get_tracer("webstore")
        span = tracer.start_span(each["name"], around, each["kind"], each["attributes"], links)
        if each["status"]:
            span.set_status(each["status"])
        span.end()
    return memory.get_finished_spans()


@given(st.lists(drawn, max_size=8))
def test_it_is_what_the_exporters_own_encoder_makes(descriptions: list[dict[str, Any]]) -> None:
    spans = made(descriptions)
    assert encode(spans) == encode_spans(spans)


def test_it_is_what_the_exporter_uses() -> None:
    assert OTLPSpanExporter.export.__globals__["encode_spans"] is encode
    assert "encode_spans" in OTLPSpanExporter.export.__code__.co_names
