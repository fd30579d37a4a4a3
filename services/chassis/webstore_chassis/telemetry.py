"""Traces, set up from OpenTelemetry's standard variables, but for its limits of spans (OTEL_SPAN_…, OTEL_ATTRIBUTE_…):
off, and without cost, unless an endpoint is given.

Spans are made here and not by the instrumentation libraries. Those cost a request more than the framework itself, also
when it is not sampled (163 µs of CPU for FastAPI alone, 352 µs with its instrumentation and no span), trace each look
of a relay as a trace of its own, and copy a database's error messages, with their values, into spans. Names and
attributes are those of the semantic conventions (https://opentelemetry.io/docs/specs/semconv/). Trace context travels
as W3C traceparent
(https://www.w3.org/TR/trace-context/): in HTTP headers, in the journal's metadata and in messages' headers. Baggage
does not travel: nobody knows what is in it.
"""

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from webstore_chassis import context

if TYPE_CHECKING:
    from webstore_chassis.spans import Recorder

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SHUTDOWN_SECONDS = 3.0
# Characters of a header: what W3C asks all to pass on of a tracestate, ten times a traceparent. Callers send them.
_LONGEST = 512
# Of one span; what the SDK keeps, too.
_MOST_LINKS = 128
_NOTHING: Mapping[str, AttributeValue] = {}
# A traceparent of the only version that there is. The propagator takes twice as long for it.
_USUAL = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_propagator = TraceContextTextMapPropagator()
# What takes the spans of all services in this process; None: tracing is off.
_sender: Any = None


def configure() -> None:
    """Sets this process up: spans go to the endpoint by OTLP over HTTP, in batches, from a thread.

    That thread's queue is bounded (OTEL_BSP_MAX_QUEUE_SIZE): where the endpoint is slow or dead, spans are lost, and
    counted, and no request waits.
    """
    global _sender  # noqa: PLW0603 - a process has one
    off = _told("OTEL_SDK_DISABLED") == "true" or _told("OTEL_TRACES_EXPORTER") == "none"
    if off or _sender or not any(os.environ.get(name) for name in _ENDPOINTS):
        return
    from webstore_chassis.otlp import Sender

    _sender = Sender()


def _told(name: str) -> str:
    return os.environ.get(name, "").strip().lower()


def shutdown() -> None:
    """Sends what is still here, for a few seconds at the most: an endpoint that hangs must not hold up the stop."""
    if _sender:
        last = threading.Thread(target=_sender.shutdown, daemon=True)
        last.start()
        last.join(_SHUTDOWN_SECONDS)


def enabled() -> bool:
    """Whether this process traces."""
    return _sender is not None


@cache
def _recorder_of(service: str) -> "Recorder":
    from webstore_chassis.spans import Recorder

    return Recorder(service, _sender.take)


def start(
    name: str, kind: SpanKind, attributes: Mapping[str, AttributeValue], parent: Mapping[str, str] | None = None
) -> Span:
    """A span of the service at hand; who starts it ends it.

    Args:
        parent: headers or metadata with the trace context that it continues; None: the span at hand.
    """
    return _below(context.span.get() if parent is None else _source(parent), name, kind, attributes)


def _below(above: Span, name: str, kind: SpanKind, attributes: Mapping[str, AttributeValue]) -> Span:
    if not _sender:
        return above
    recorder = _recorder_of(context.service.get())
    if type(above) is _Shared:  # an abstract class makes isinstance slow
        return recorder.start(above.first, name, kind, attributes, above.others)
    return recorder.start(above, name, kind, attributes)


def _source(carrier: Mapping[str, str]) -> Span:
    """The span that headers or metadata come from; invalid if they name none."""
    parent = carrier.get("traceparent") if _sender else None
    if not parent or len(parent) > _LONGEST:
        return INVALID_SPAN
    state = carrier.get("tracestate", "")
    return remote(parent, state if len(state) <= _LONGEST else "")


# What comes with an event is asked for by its relay and by each consumer, and to parse it costs more than all the rest.
@lru_cache(maxsize=1000)
def remote(parent: str, state: str = "") -> Span:
    """The span that a traceparent and a tracestate name; invalid if they name none."""
    usual = _USUAL.fullmatch(parent)
    if usual and not state:
        trace_id, span_id, flags = (int(part, 16) for part in usual.groups())
        it = SpanContext(trace_id, span_id, True, TraceFlags(flags))
        return NonRecordingSpan(it) if it.is_valid else INVALID_SPAN
    return get_current_span(_propagator.extract({"traceparent": parent, "tracestate": state}, Context()))


class at_hand:
    """Makes a span the one that spans, log lines and events of a block of code belong to."""

    # A class, as a generator's context manager takes three times as long, and this is around every request.
    __slots__ = ("_current", "_token")

    def __init__(self, current: Span) -> None:
        self._current = current

    def __enter__(self) -> Span:
        self._token = context.span.set(self._current)
        return self._current

    def __exit__(self, __: type[BaseException] | None, ___: BaseException | None, _: TracebackType | None) -> None:
        context.span.reset(self._token)


class span(at_hand):
    """A span around a block of code, which is at hand in it; see `start`."""

    __slots__ = ()

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue],
        parent: Mapping[str, str] | None = None,
    ) -> None:
        self._current = start(name, kind, attributes, parent)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        context.span.reset(self._token)
        if error is not None:
            fail(self._current, type(error).__name__)
        self._current.end()


@contextmanager
def ended(spans: Sequence[Span]) -> Iterator[None]:
    """Ends the spans after a block of code, as failed if it raises."""
    try:
        yield
    except BaseException as error:
        for each in spans:
            fail(each, type(error).__name__)
        raise
    finally:
        for each in spans:
            each.end()


def continued(carrier: Mapping[str, str]) -> at_hand:
    """Makes the trace context in headers or metadata the one at hand."""
    return at_hand(_source(carrier))


def message(
    kind: SpanKind,
    carrier: Mapping[str, str],
    *,
    system: str,
    destination: str,
    message_id: str,
    more: Mapping[str, AttributeValue] = _NOTHING,
) -> Span:
    """Starts the span of a message (https://opentelemetry.io/docs/specs/semconv/messaging/); see `start`.

    Args:
        kind: PRODUCER: it is sent, CONSUMER: it is processed.
        carrier: its headers or metadata, with the trace context that it continues.
    """
    above = _source(carrier)
    if _is_dropped(above):
        return above
    operation = "send" if kind is SpanKind.PRODUCER else "process"
    attributes = {
        "messaging.system": system,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
        "messaging.message.id": message_id,
        **more,
    }
    return _below(above, f"{operation} {destination}", kind, attributes)


@contextmanager
def resumed(name: str, earlier: Mapping[str, str]) -> Iterator[None]:
    """Work of this request that belongs to an earlier trace, as placing an order does to that of its checkout.

    A span there is at hand, and linked with the request's; where the earlier trace is not kept, the request's own is.
    """
    here = context.span.get()
    there = _source(earlier).get_span_context()
    if not _sender or not there.trace_flags.sampled or there.trace_id == here.get_span_context().trace_id:
        yield
        return
    here.add_link(there)
    made = start(name, SpanKind.INTERNAL, {}, earlier)
    if _is_kept(here):
        made.add_link(here.get_span_context())
    with ended([made]), at_hand(made):
        yield


def fail(failed: Span, reason: str) -> None:
    """Marks a span as failed.

    Args:
        reason: the kind of failure, never an exception's text: that may repeat what a person sent.
    """
    failed.set_attribute("error.type", reason)
    failed.set_status(Status(StatusCode.ERROR))


def inject(of: Span | None = None) -> dict[str, str]:
    """The trace context of a span, or of what is at hand, as headers; empty when there is none."""
    trace_id, span_id, _, flags, state, is_valid = (of or context.span.get()).get_span_context()
    if not _sender or not is_valid:
        return {}
    headers = {"traceparent": f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"}
    return headers | {"tracestate": state.to_header()} if state else headers


def carried(metadata: Mapping[str, str]) -> dict[str, str]:
    """The trace context in an event's metadata, to be kept for later work."""
    return {name: metadata[name] for name in _propagator.fields if name in metadata}


def _is_kept(of: Span) -> bool:
    return bool(of.get_span_context().trace_flags & TraceFlags.SAMPLED)


def _is_dropped(above: Span) -> bool:
    return above is not INVALID_SPAN and not _is_kept(above)


def dropped() -> bool:
    """Whether a span that is begun here is none: tracing is off, or the trace at hand is not kept."""
    return not _sender or _is_dropped(context.span.get())


class _Shared(NonRecordingSpan):
    """Stands for several callers' kept spans: what begins below it is below the first, and linked with the others."""

    def __init__(self, first: Span, others: Sequence[Span]) -> None:
        super().__init__(first.get_span_context())
        self.first = first
        self.others = [other.get_span_context() for other in others[:_MOST_LINKS]]


def together(callers: Sequence[Span]) -> at_hand:
    """Work done at once for several callers: a part of the first kept trace among theirs, its spans linked with the
    others.
    """
    kept = [caller for caller in callers if _is_kept(caller)]
    return at_hand(_Shared(kept[0], kept[1:]) if len(kept) > 1 else (kept or callers or [INVALID_SPAN])[0])


def trace_statements(engine: AsyncEngine) -> None:
    """Adds a span for each statement that runs within a trace that is kept: its text, never its values."""
    if not _sender:
        return
    url = engine.url
    place: dict[str, AttributeValue] = {
        "db.system.name": "postgresql",
        "db.namespace": url.database or "",
        "server.address": url.host or str(url.query.get("host", "localhost")),
        "server.port": url.port or 5432,
    }

    def before(_: Any, __: Any, statement: str, ___: Any, execution: Any, ____: bool) -> None:
        if _is_kept(context.span.get()):
            operation, described = _described(statement)
            execution.webstore_span = start(f"{operation} {url.database}", SpanKind.CLIENT, {**place, **described})

    def after(_: Any, __: Any, ___: str, ____: Any, execution: Any, _____: bool) -> None:
        if made := getattr(execution, "webstore_span", None):
            made.end()

    def failed(failure: Any) -> None:
        if made := getattr(failure.execution_context, "webstore_span", None):
            fail(made, type(failure.original_exception).__name__)
            made.end()

    event.listen(engine.sync_engine, "before_cursor_execute", before)
    event.listen(engine.sync_engine, "after_cursor_execute", after)
    event.listen(engine.sync_engine, "handle_error", failed)


@lru_cache(maxsize=1000)
def _described(statement: str) -> tuple[str, Mapping[str, str]]:
    words = statement.split()
    operation = words[0].upper()
    return operation, {"db.operation.name": operation, "db.query.text": " ".join(words)}
