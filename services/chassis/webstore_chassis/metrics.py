"""The figures of `/metrics` that services share (https://prometheus.io/docs/practices/naming/); durations in
seconds.
"""

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

REQUESTS = Histogram(
    "webstore_http_request_duration_seconds",
    "Requests answered, by route and status",
    ["service", "method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
CALLS = Counter("webstore_downstream_calls_total", "Calls to other services", ["service", "downstream", "outcome"])
BREAKER = Gauge("webstore_breaker_state", "0 closed, 1 half open, 2 open", ["service", "downstream"])
BACKLOG = Gauge(
    "webstore_journal_backlog_events", "Events in the journal that the relay has not published", ["service"]
)
PUBLISHED = Counter("webstore_relay_published_total", "Events published by the relay", ["service"])
CONSUMED = Counter("webstore_consumed_total", "Events taken from topics", ["service", "topic"])
CONSUMER_LAG = Gauge(
    "webstore_consumer_lag_seconds", "Age of the event being handled, or tried again; 0 when none waits", ["service"]
)
CONSUMER_BACKLOG = Gauge(
    "webstore_consumer_backlog_messages",
    "Messages that were not handled yet when it was last looked for some",
    ["service"],
)
DEAD_LETTERS = Counter("webstore_dead_letters_total", "Messages given up and sent to <topic>.dlq", ["service", "topic"])
PROJECTION_LAG = Gauge(
    "webstore_projection_lag_seconds",
    "Age of the event being applied to the read model, or tried again; 0 when none waits",
    ["service"],
)
SPANS = Counter(
    "webstore_spans_total", "Spans ended, and those of them sent or failed; the rest waits or was dropped", ["outcome"]
)
LOG_LINES = Counter("webstore_log_lines_total", "Log lines written", ["target"])
LOG_LINES_LOST = Counter("webstore_log_lines_lost_total", "Log lines that were not written", ["reason"])
RESTARTS = Counter(
    "webstore_background_restarts_total", "Background work begun again after a failure", ["service", "work"]
)

# A series that begins with the first of what it counts hides that one: `increase` has nothing to compare it with, and a
# comparison with a series that is not there is never true. So each begins at 0, here or where its labels are known.
for _outcome in ("ended", "sent", "failed"):
    SPANS.labels(_outcome)
for _target in ("stdout", "file"):
    LOG_LINES.labels(_target)
for _reason in ("queue full", "stdout", "file"):
    LOG_LINES_LOST.labels(_reason)


def exposition() -> tuple[bytes, str]:
    """All figures of this process, with their media type."""
    return generate_latest(), CONTENT_TYPE_LATEST
