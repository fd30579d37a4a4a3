"""What belongs to the request or event at hand, and travels with it: into logs, other services and the journal."""

from contextvars import ContextVar

service: ContextVar[str] = ContextVar("service", default="webstore")
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
actor: ContextVar[str | None] = ContextVar("actor", default=None)
