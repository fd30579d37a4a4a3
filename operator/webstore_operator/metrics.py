"""What the operator tells Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter("webstore_operator_reconciles_total", "Looks at a WebStore", ["outcome"])
SECONDS = Histogram(
    "webstore_operator_reconcile_seconds",
    "Duration of a look at a WebStore",
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60),
)
APPLIED = Counter("webstore_operator_applied_total", "Objects that were applied", ["kind", "why"])
PRUNED = Counter("webstore_operator_pruned_total", "Objects that were deleted because no longer wanted", ["kind"])
RENDERS = Counter("webstore_operator_renders_total", "Runs of helm template")
ROLLBACKS = Counter("webstore_operator_rollbacks_total", "Changes that were given up")
WATCH_RESTARTS = Counter("webstore_operator_watch_restarts_total", "Lists after a watch that could not go on", ["kind"])
UNWATCHED = Gauge("webstore_operator_unwatched", "1 for a kind that the operator may not watch", ["kind"])
API_ERRORS = Counter(
    "webstore_operator_api_errors_total", "Answers of the API server that were tried again", ["status"]
)
STORES = Gauge("webstore_operator_stores", "WebStores", ["state"])
OBJECTS = Gauge("webstore_operator_objects", "Objects of all WebStores")
LEADING = Gauge("webstore_operator_leading", "1 in the copy that holds the Lease")
