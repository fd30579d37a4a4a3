"""Spans as they are made: apart from `telemetry`, as importing the SDK takes time.

The SDK decides which traces are kept, and its queue and exporter take the spans (see `otlp`). But to make and end one
of its own takes it five times as long: it locks, checks and copies what no service shares or changes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import AnyValue, Attributes

_UNSET = Status()
# Of a trace id, what samplers look at.
_ALL_IDS = TraceIdRatioBased.TRACE_ID_LIMIT
_AHEAD = 256


class Recorded(NonRecordingSpan):
    """A span that is kept. After its end, when another thread reads it, it does not change.

    It holds no events, and of links only where they lead: services make no more.

    Attributes:
        said: its attributes; what is not text, a whole number or a truth value is sent as text.
        started, ended: nanoseconds since 1970, UTC.
    """

    def __init__(
        self,
        recorder: "Recorder",
        context: SpanContext,
        parent: SpanContext | None,
        *,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[SpanContext],
    ) -> None:
        super().__init__(context)
        self.recorder = recorder
        self.name = name
        self.parent = parent
        self.kind = kind
        self.said: dict[str, AnyValue] = dict(attributes or {})
        self.links = links
        self.status = _UNSET
        self.ended = 0
        self.started = time.time_ns()

    @property
    def context(self) -> SpanContext:
        """Its own ids; what the SDK's queue looks at."""
        return self._context

    def is_recording(self) -> bool:
        """Whether attributes are kept."""
        return not self.ended

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Says one thing more."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Says more."""
        if not self.ended:
            self.said.update(attributes)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Leads to another span."""
        if not self.ended:
            self.links = [*self.links, context]

    def update_name(self, name: str) -> None:
        """Gives it a better name."""
        if not self.ended:
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Says how it went."""
        if not self.ended:
            self.status = status if isinstance(status, Status) else Status(status, description)

    def end(self, end_time: int | None = None) -> None:
        """Sends it, once."""
        if not self.ended:
            self.ended = end_time or time.time_ns()
            self.recorder.take(self)


class Recorder:
    """What makes a service's spans, in one thread; OTEL_TRACES_SAMPLER… and OTEL_RESOURCE_ATTRIBUTES configure it.

    Args:
        take: gets each span at its end; must neither wait nor raise.
    """

    def __init__(self, service: str, take: Callable[[Recorded], None]) -> None:
        self.resource = Resource.create({"service.name": service, "service.version": version("webstore-chassis")})
        self.take = take
        provider = TracerProvider(resource=self.resource, shutdown_on_exit=False)
        self._sampler, self._ids = provider.sampler, provider.id_generator
        self._random = TraceFlags(TraceFlags.RANDOM_TRACE_ID if self._ids.is_trace_id_random() else TraceFlags.DEFAULT)
        self._ahead: list[Span] = []
        # What a first span is sampled by; the SDK has no public name for it.
        root = getattr(self._sampler, "_root", self._sampler)
        self._bound = root.bound if isinstance(root, TraceIdRatioBased) else _ALL_IDS + 1

    def start(
        self,
        above: Span,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[SpanContext] = (),
    ) -> Span:
        """A span below another, here or elsewhere; below an invalid one it is the first of a trace.

        A trace is kept whole or not at all, whatever the sampler: below a span that is not kept there are no others,
        which would only cost.
        """
        if type(above) is Recorded:  # an abstract class makes isinstance slow
            over = above.context
            context = self._context(over.trace_id, over.trace_flags, over.trace_state)
            return Recorded(self, context, over, name=name, kind=kind, attributes=attributes, links=links)
        parent: SpanContext | None = None
        if above is INVALID_SPAN:
            unkept = self._drawn()
            drawn = unkept.get_span_context()
            # A sampler that looks at the id alone need not be asked.
            if drawn.trace_id & _ALL_IDS >= self._bound:
                return unkept
        else:
            parent = above.get_span_context()
            if not parent.trace_flags.sampled:
                return above
            drawn = self._context(parent.trace_id, parent.trace_flags, None)
        around = set_span_in_context(above, Context())
        decided = self._sampler.should_sample(around, drawn.trace_id, name, kind, attributes)
        kept = decided.decision is Decision.RECORD_AND_SAMPLE
        random = drawn.trace_flags & TraceFlags.RANDOM_TRACE_ID
        flags = TraceFlags(random | (TraceFlags.SAMPLED if kept else TraceFlags.DEFAULT))
        context = SpanContext(drawn.trace_id, drawn.span_id, False, flags, decided.trace_state)
        if not kept:
            return NonRecordingSpan(context)
        return Recorded(self, context, parent, name=name, kind=kind, attributes=decided.attributes, links=links)

    def _drawn(self) -> Span:
        """The next trace, as it is if it is not kept."""
        # Most traces are not kept, and making their ids was most of what they cost. Among others of its kind one takes
        # a microsecond, but ten where all that a request does is between: the caches have other things then.
        if not self._ahead:
            ids = [self._context(self._ids.generate_trace_id(), self._random, None) for _ in range(_AHEAD)]
            self._ahead = [NonRecordingSpan(each) for each in reversed(ids)]
        return self._ahead.pop()

    def _context(self, trace_id: int, flags: TraceFlags, state: TraceState | None) -> SpanContext:
        return SpanContext(trace_id, self._ids.generate_span_id(), False, flags, state)
