"""The outermost layer of a service's HTTP: request ids, one spelling of a path, the body limit, figures, the last
catch.
"""

import logging
import re
import time
from typing import Any
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webstore_chassis import context
from webstore_chassis.metrics import REQUESTS
from webstore_chassis.problems import Problem, TooLarge

log = logging.getLogger("webstore.access")

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_UNMEASURED = frozenset({"/livez", "/readyz", "/metrics"})


class Edge:
    """ASGI middleware; written against the protocol itself, because every request of every service passes it."""

    def __init__(self, app: ASGIApp, *, service: str, max_body_bytes: int) -> None:
        self.app = app
        self.service = service
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        # The contract's client ends a path with a slash: the same resource, without a redirect that it need not follow.
        path: str = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            scope["path"] = path = path.rstrip("/") or "/"
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id"))
        service_token = context.service.set(self.service)
        request_token = context.request_id.set(request_id)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
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
                route = getattr(scope.get("route"), "path", "unmatched")
                seconds = time.perf_counter() - started
                REQUESTS.labels(self.service, scope["method"], route, status).observe(seconds)
                if log.isEnabledFor(logging.INFO):
                    method, ms = scope["method"], round(seconds * 1000, 2)
                    fields = {"method": method, "route": route, "status": status, "ms": ms}
                    log.info("%s %s %d", method, route, status, extra=fields)
            context.request_id.reset(request_token)
            context.service.reset(service_token)

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                # The framework passes its own exceptions through its body parser, and no others.
                raise HTTPException(413, self._too_large().detail)
            return message

        return limited

    def _too_large(self) -> Problem:
        return TooLarge(f"The body is larger than {self.max_body_bytes:,} bytes, the most that this service takes.")


def _request_id(given: Any) -> str:
    return given.decode() if given and _REQUEST_ID.fullmatch(given) else uuid4().hex
