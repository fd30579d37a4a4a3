"""The outermost layer of a service's HTTP: request ids, one spelling of a path, the body limit, traces, figures, the
last catch.
"""

import logging
import random
import re
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span, SpanKind
from prometheus_client import Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webstore_chassis import context, telemetry
from webstore_chassis.masking import masked
from webstore_chassis.metrics import REQUESTS
from webstore_chassis.problems import Problem, TooLarge

log = logging.getLogger("webstore.access")

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_UNMEASURED = frozenset({"/livez", "/readyz", "/metrics"})
_UNMATCHED = "unmatched"
_LONGEST = 512


class Edge:
    """ASGI middleware; written against the protocol itself, because every request of every service passes it."""

    def __init__(self, app: ASGIApp, *, service: str, max_body_bytes: int) -> None:
        self.app = app
        self.service = service
        self.max_body_bytes = max_body_bytes
        self._figures: dict[tuple[str, str, int], Histogram] = {}  # looking one up by its labels takes longer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # The contract's client ends a path with a slash: the same resource, without a redirect that it need not follow.
        path: str = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            scope["path"] = path = path.rstrip("/") or "/"
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id"))
        service_token = context.service.set(self.service)
        request_token = context.request_id.set(request_id)
        try:
            if path in _UNMEASURED or not telemetry.enabled():
                await self._answer(scope, receive, send, headers, request_id)
            else:
                with telemetry.span(scope["method"], SpanKind.SERVER, {}, _trace_of(headers)):
                    await self._answer(scope, receive, send, headers, request_id)
        finally:
            context.request_id.reset(request_token)
            context.service.reset(service_token)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes], request_id: str
    ) -> None:
        started = time.perf_counter()
        path: str = scope["path"]
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            if int(headers.get(b"content-length", b"0")) > self.max_body_bytes:
                raise self._too_large()
            await self.app(scope, self._limited(receive), answer)
        except Problem as problem:
            await problem.response()(scope, receive, answer)
        except Exception:
            log.exception("%s %s failed", scope["method"], path)
            if status:
                raise
            await Problem("Something went wrong here, not in your request. The log has it under this request id.",
                          requestId=request_id).response()(scope, receive, answer)  # fmt: skip
        finally:
            if path not in _UNMEASURED:
                self._note(scope, headers, status, time.perf_counter() - started)

    def _note(self, scope: Scope, headers: Mapping[bytes, bytes], status: int, seconds: float) -> None:
        method: str = scope["method"]
        route: str = getattr(scope.get("route"), "path_format", _UNMATCHED)
        figure = self._figures.get((method, route, status))
        if figure is None:
            figure = self._figures[method, route, status] = REQUESTS.labels(self.service, method, route, status)
        figure.observe(seconds)
        span = context.span.get()
        if span.is_recording():
            _describe(span, scope, headers, route, status)
        if log.isEnabledFor(logging.INFO):
            fields = {"method": method, "route": route, "status": status, "duration_ms": round(seconds * 1000, 2)}
            log.info("%s %s %d", method, route, status, extra=fields)

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                # The framework passes its own exceptions through its body parser, and no others.
                raise HTTPException(TooLarge.status, self._too_large().detail)
            return message

        return limited

    def _too_large(self) -> Problem:
        return TooLarge(f"The body is larger than {self.max_body_bytes:,} bytes, the most that this service takes.")


def _trace_of(headers: Mapping[bytes, bytes]) -> Mapping[str, str]:
    if b"traceparent" not in headers:
        return {}
    return {name: headers.get(name.encode(), b"").decode("latin-1") for name in ("traceparent", "tracestate")}


def _describe(span: Span, scope: Scope, headers: Mapping[bytes, bytes], route: str, status: int) -> None:
    # At the end, and all at once: most spans are not kept, and nothing that decides it looks at these. What callers
    # send is cut: queues are bounded by spans, and 256 of them must fit a message of Kafka.
    attributes: dict[str, str | int] = {
        "http.request.method": scope["method"],
        "http.response.status_code": status,
        "url.scheme": scope["scheme"],
        "url.path": masked(scope["path"][:_LONGEST]),
    }
    if agent := headers.get(b"user-agent"):
        attributes["user_agent.original"] = masked(agent[:_LONGEST].decode(errors="replace"))
    if route is not _UNMATCHED:
        attributes["http.route"] = route
        span.update_name(f"{scope['method']} {route}")
    span.set_attributes(attributes)
    if status >= 500:
        telemetry.fail(span, str(status))


def _request_id(given: Any) -> str:
    # It need not be secret, and asking the system for random bytes takes longer.
    return given.decode() if given and _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
