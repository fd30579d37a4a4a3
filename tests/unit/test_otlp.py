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
from webstore_chassis.otlp import _encode, encode

contexts = st.builds(
    SpanContext,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.just(TraceFlags(TraceFlags.SAMPLED)),
    trace_state=st.sampled_from([TraceState(), TraceState([("a", "1"), ("b", "2")])]),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
common = st.one_of(texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, False, 1, True, ""]))
# What the SDK takes besides: the last two are refused by protocol buffers, and the exporter's encoder leaves them out.
uncommon: st.SearchStrategy[Any] = st.one_of(
    st.floats(allow_nan=False),
    st.lists(common, max_size=3),
    st.dictionaries(texts.filter(bool), common, max_size=2),
    st.sampled_from([None, b"bytes", 0.0, -0.0, 1.0, (1, 2), (True, 2), 2**63, "\ud800"]),
)
names = st.sampled_from(["url.path", "http.route", "db.query.text", "n"])
statuses = st.sampled_from([None, Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "why")])


def descriptions(
    attributes: st.SearchStrategy[dict[str, Any]], links: st.SearchStrategy[Link], events: st.SearchStrategy[str]
) -> st.SearchStrategy[list[dict[str, Any]]]:
    one = st.fixed_dictionaries(
        {
            "service": st.sampled_from(["order", "product"]),
            "name": texts,
            "kind": st.sampled_from(SpanKind),
            "parent": st.none() | contexts,
            "attributes": attributes,
            "links": st.lists(links, max_size=4),
            "status": statuses,
            "event": events,
        }
    )
    return st.lists(one, max_size=8)


plain, bare, nothing = st.dictionaries(names, common), st.builds(Link, contexts), st.just("")
as_services_make_them = descriptions(plain, bare, nothing)
# Of each one thing at a time that services do not make.
others = st.one_of(
    descriptions(st.dictionaries(names, common | uncommon), bare, nothing),
    descriptions(plain, st.builds(Link, contexts, st.dictionaries(names, common, max_size=1)), nothing),
    descriptions(plain, bare, st.sampled_from(["", "something happened"])),
)


def made(described: list[dict[str, Any]]) -> tuple[ReadableSpan, ...]:
    """The spans, by the SDK; it keeps three attributes of each, and three links."""
    memory = InMemorySpanExporter()
    providers = {}
    for each in described:
        service = each["service"]
        if service not in providers:
            limits = SpanLimits(max_span_attributes=3, max_links=3)
            providers[service] = TracerProvider(resource=Resource({"service.name": service}), span_limits=limits)
            providers[service].add_span_processor(SimpleSpanProcessor(memory))
        around = set_span_in_context(NonRecordingSpan(each["parent"])) if each["parent"] else None
        tracer = providers[service].get_tracer("webstore")
        span = tracer.start_span(each["name"], around, each["kind"], each["attributes"], each["links"])
        if each["event"]:
            span.add_event(each["event"])
        if each["status"]:
            span.set_status(each["status"])
        span.end()
    return memory.get_finished_spans()


@given(as_services_make_them)
def test_it_is_what_the_exporters_own_encoder_makes(described: list[dict[str, Any]]) -> None:
    spans = made(described)
    assert _encode(spans) == encode_spans(spans)


@given(others)
def test_what_services_do_not_make_is_left_to_the_exporters_own_encoder(described: list[dict[str, Any]]) -> None:
    spans = made(described)
    assert encode(spans) == encode_spans(spans)


def test_it_is_what_the_exporter_uses() -> None:
    assert OTLPSpanExporter.export.__globals__["encode_spans"] is encode
    assert "encode_spans" in OTLPSpanExporter.export.__code__.co_names
