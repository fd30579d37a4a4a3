"""Spans: what the SDK would make, and what its exporter would send, of the same."""

import random
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from webstore_chassis import context, telemetry
from webstore_chassis.otlp import encode
from webstore_chassis.spans import Recorded, Recorder

contexts = st.builds(
    SpanContext,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.sampled_from([TraceFlags(flags) for flags in range(4)]),
    trace_state=st.sampled_from([TraceState(), TraceState([("a", "1"), ("b", "2")])]),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.one_of(texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, False, 1, True, ""]))
attributes = st.dictionaries(st.sampled_from(["url.path", "http.route", "db.query.text", "n"]), values)
descriptions = st.fixed_dictionaries(
    {
        "service": st.sampled_from(["order", "product"]),
        "name": texts,
        "context": contexts,
        "parent": st.none() | contexts,
        "kind": st.sampled_from(SpanKind),
        "attributes": attributes,
        "said later": attributes,
        "links": st.lists(contexts, max_size=3),
        "linked later": st.lists(contexts, max_size=2),
        "status": st.sampled_from([None, *StatusCode]),
    }
)
RECORDERS = {service: Recorder(service, lambda _: None) for service in ("order", "product")}


def first(recorder: Recorder) -> Recorded:
    span = recorder.start(INVALID_SPAN, "GET", SpanKind.SERVER, {})
    assert isinstance(span, Recorded)
    return span


def recorded(of: Mapping[str, Any]) -> Recorded:
    span = Recorded(
        RECORDERS[of["service"]],
        of["context"],
        of["parent"],
        name="before",
        kind=of["kind"],
        attributes=of["attributes"],
        links=of["links"],
    )
    span.update_name(of["name"])
    span.set_attributes(of["said later"])
    for link in of["linked later"]:
        span.add_link(link)
    if of["status"]:
        span.set_status(of["status"])
    span.end()
    return span


def by_the_sdk(of: Mapping[str, Any], like: Recorded) -> ReadableSpan:
    return ReadableSpan(
        of["name"],
        of["context"],
        of["parent"],
        RECORDERS[of["service"]].resource,
        {**of["attributes"], **of["said later"]},
        links=[Link(context, {}) for context in [*of["links"], *of["linked later"]]],
        kind=of["kind"],
        status=Status(of["status"] or StatusCode.UNSET),
        start_time=like.started,
        end_time=like.ended,
        instrumentation_scope=InstrumentationScope("webstore"),
    )


@given(st.lists(descriptions, max_size=8))
def test_what_is_sent_is_what_the_exporters_own_encoder_makes(described: list[dict[str, Any]]) -> None:
    spans = [recorded(of) for of in described]
    assert encode(spans) == encode_spans([by_the_sdk(of, span) for of, span in zip(described, spans, strict=True)])


def test_spans_of_others_are_sent_as_ever() -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("theirs").start_span("GET", attributes={"a": 1.5})
    span.end()
    assert isinstance(span, ReadableSpan)
    assert encode([span]) == encode_spans([span])  # type: ignore[list-item]


def test_it_is_what_the_exporter_uses() -> None:
    assert OTLPSpanExporter.export.__globals__["encode_spans"] is encode
    assert "encode_spans" in OTLPSpanExporter.export.__code__.co_names


@pytest.mark.parametrize(
    ("value", "sent"),
    [(2**63, "9223372036854775808"), ("\ud800", r"'\ud800'"), (1.5, "1.5"), ([1, "a"], "[1, 'a']"), (None, "None")],
)
def test_a_value_of_another_kind_is_sent_as_text(value: Any, sent: str) -> None:
    span = first(RECORDERS["order"])
    span.set_attribute("odd", value)
    span.set_attribute("common", "x")
    odd, common = encode([span]).resource_spans[0].scope_spans[0].spans[0].attributes
    assert (odd.value.string_value, common.value.string_value) == (sent, "x")


def test_a_span_is_handed_over_once_when_it_ends() -> None:
    taken: list[Recorded] = []
    span = first(Recorder("order", taken.append))
    assert (taken, span.is_recording()) == ([], True)
    span.end()
    span.end()
    assert (taken, span.is_recording()) == ([span], False)
    assert span.started <= span.ended


def test_a_span_does_not_change_after_its_end() -> None:
    span = first(RECORDERS["order"])
    span.set_attribute("a", 1)
    span.end()
    before = encode([span])
    span.set_attribute("b", 2)
    span.update_name("other")
    span.set_status(StatusCode.ERROR)
    span.add_link(span.context)
    assert encode([span]) == before


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_SDK_DISABLED", "True"), ("OTEL_SDK_DISABLED", " true"), ("OTEL_TRACES_EXPORTER", "None")]
)
def test_it_is_off_where_a_standard_variable_says_so(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    telemetry.configure()
    assert not telemetry.enabled()


SAMPLERS = [
    *(("parentbased_traceidratio", share) for share in ("0", "0.5", "1")),
    ("traceidratio", "0.5"),
    ("always_on", ""),
    ("always_off", ""),
    ("parentbased_always_off", ""),
]


@pytest.mark.parametrize(("sampler", "share"), SAMPLERS)
@given(parent=st.none() | contexts, seed=st.integers(0, 2**32))
def test_the_first_span_here_is_as_the_sdk_would_start_it(
    sampler: str, share: str, parent: SpanContext | None, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_TRACES_SAMPLER", sampler)
        environment.setenv("OTEL_TRACES_SAMPLER_ARG", share)
        recorder, provider = Recorder("order", lambda _: None), TracerProvider(shutdown_on_exit=False)
    above = NonRecordingSpan(parent) if parent else INVALID_SPAN
    around = set_span_in_context(above, Context())
    random.seed(seed)
    theirs = provider.get_tracer("webstore").start_span("GET", around, SpanKind.SERVER, {"a": 1})
    random.seed(seed)
    ours = recorder.start(above, "GET", SpanKind.SERVER, {"a": 1})
    if parent and not parent.trace_flags.sampled:
        assert ours is above  # whatever the sampler says: a trace is kept whole, or not at all
        return
    assert ours.get_span_context() == theirs.get_span_context()
    assert ours.is_recording() == theirs.is_recording()
    if isinstance(ours, Recorded):
        assert isinstance(theirs, ReadableSpan)
        assert (ours.parent, ours.said) == (theirs.parent, dict(theirs.attributes or {}))


@pytest.mark.parametrize("service", ["order", "product"])
def test_a_span_below_belongs_to_the_same_trace(service: str) -> None:
    above = first(RECORDERS["order"])
    below = RECORDERS[service].start(above, "SELECT", SpanKind.CLIENT, {})
    assert isinstance(below, Recorded)
    assert below.parent == above.context
    assert (below.context.trace_id, below.context.trace_flags) == (above.context.trace_id, above.context.trace_flags)
    assert below.context.span_id != above.context.span_id


def test_traces_are_kept_by_their_ids_and_are_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    recorder = Recorder("order", lambda _: None)
    spans = [recorder.start(INVALID_SPAN, "GET", SpanKind.SERVER, {}) for _ in range(1000)]
    contexts = [span.get_span_context() for span in spans]
    assert len({it.trace_id for it in contexts}) == len({it.span_id for it in contexts}) == 1000
    assert all(it.is_valid and not it.is_remote for it in contexts)
    kept = [it.trace_id % 2**64 < 2**62 for it in contexts]
    assert 150 < sum(kept) < 350
    assert [span.is_recording() for span in spans] == [it.trace_flags.sampled for it in contexts] == kept


traceparents = st.from_regex(r"0[01]-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?", fullmatch=True)
nearly = st.builds(
    lambda right, at, other: right[:at] + other + right[at + 1 :], traceparents, st.integers(0, 57), st.text(max_size=2)
)
nothing = st.sampled_from(
    [f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'0' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01"]
)


@given(parent=traceparents | nearly | nothing | texts, state=st.sampled_from(["", "a=1", "a=1,b=2", "=", ","]))
def test_a_traceparent_is_read_as_the_propagator_reads_it(parent: str, state: str) -> None:
    headers = {"traceparent": parent} | ({"tracestate": state} if state else {})
    theirs = get_current_span(TraceContextTextMapPropagator().extract(headers, Context()))
    assert telemetry.remote(parent, state).get_span_context() == theirs.get_span_context()


def test_work_for_many_callers_is_linked_with_128_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Recorded] = []
    monkeypatch.setattr(telemetry, "_sender", SimpleNamespace(take=ended.append))
    callers = [first(RECORDERS["order"]) for _ in range(200)]
    service = context.service.set("of many callers")
    try:
        with (
            telemetry.together(callers),
            telemetry.span("SELECT", SpanKind.CLIENT, {}),
            telemetry.span("below", SpanKind.INTERNAL, {}),
        ):
            pass
    finally:
        context.service.reset(service)
    below, shared = ended
    assert shared.parent == callers[0].context
    assert list(shared.links) == [caller.context for caller in callers[1:129]]
    assert (below.parent, list(below.links)) == (shared.context, [])


@pytest.mark.parametrize(("length", "kept"), [(512, True), (513, False)])
def test_of_a_callers_tracestate_no_more_than_512_characters_are_kept(
    length: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "_sender", object())
    state = f"a={'x' * 200},b={'x' * 200},c="
    headers = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-00", "tracestate": state.ljust(length, "x")}
    with telemetry.continued(headers) as current:
        its = current.get_span_context()
    assert (its.trace_id, its.span_id) == (int("1" * 32, 16), int("2" * 16, 16))
    assert len(its.trace_state) == (3 if kept else 0)
