"""What belongs to the request or event at hand, and travels with it: into logs, other services and the journal."""

from contextvars import ContextVar

from opentelemetry.trace import INVALID_SPAN, Span

service: ContextVar[str] = ContextVar("service", default="webstore")
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
actor: ContextVar[str | None] = ContextVar("actor", default=None)
# Not in OpenTelemetry's context, a dictionary that is copied for each span: here is nobody else who would look there.
span: ContextVar[Span] = ContextVar("span", default=INVALID_SPAN)
