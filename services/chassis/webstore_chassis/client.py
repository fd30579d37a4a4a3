"""Calls to another service: a deadline, a retry budget, and a breaker that fails at once while the other is down."""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from typing import Any

import httpx
import pybreaker
from opentelemetry.trace import SpanKind

from webstore_chassis import context, telemetry
from webstore_chassis.masking import masked
from webstore_chassis.metrics import BREAKER, CALLS
from webstore_chassis.problems import Unavailable
from webstore_chassis.settings import Settings

log = logging.getLogger(__name__)

_STATES = {pybreaker.STATE_CLOSED: 0, pybreaker.STATE_HALF_OPEN: 1, pybreaker.STATE_OPEN: 2}
_ATTEMPTS = 3
# A tenth of the calls may be retried, and never more than ten at once: retries must not become the load that keeps a
# service down (https://sre.google/sre-book/addressing-cascading-failures/).
_BUDGET, _BUDGET_PER_CALL = 10.0, 0.1


class _Failed(Exception):
    """The other service did not answer, or answered that it is unwell."""


def _says_nothing(error: BaseException) -> bool:
    """A caller that went away says nothing about the other service, so the breaker stays as it was.

    pybreaker takes what it is told to exclude for a success, which closes it; what is raised here passes it by.
    """
    if isinstance(error, asyncio.CancelledError):
        raise error
    return False


class _Watch(pybreaker.CircuitBreakerListener):
    def __init__(self, downstream: str, service: str) -> None:
        self.downstream = downstream
        self.service = service
        BREAKER.labels(service, downstream).set(0)

    def state_change(self, cb: pybreaker.CircuitBreaker, old_state: Any, new_state: Any) -> None:
        """Says so in the log and in the figures."""
        if getattr(old_state, "name", None) == new_state.name:
            return  # a call that began before it opened has failed too
        BREAKER.labels(self.service, self.downstream).set(_STATES[new_state.name])
        log.warning(
            "breaker to %s: %s -> %s", self.downstream, getattr(old_state, "name", None), new_state.name,
            extra={"downstream": self.downstream, "breaker": new_state.name},
        )  # fmt: skip


class Downstream:
    """Another service, as seen from this one.

    Args:
        service: the caller, as figures name it.
        name: the service called.
        base_url: where it is.
        transport: what carries the requests, where that is not the network.
    """

    def __init__(
        self,
        service: str,
        name: str,
        base_url: str,
        settings: Settings,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.service, self.name = service, name
        self._deadline = settings.http_deadline_seconds
        self._reset = settings.breaker_reset_seconds
        self._base_url = base_url.rstrip("/")
        url = httpx.URL(base_url)
        self._place: Mapping[str, str | int] = {
            "server.address": url.host,
            "server.port": url.port or (443 if url.scheme == "https" else 80),
            "service.peer.name": name,
        }
        self._headers = {"User-Agent": f"webstore-{service}"}
        if settings.internal_token:
            self._headers["Authorization"] = f"Bearer {settings.internal_token.get_secret_value()}"
        # The transport itself: what httpx's client adds to it (cookies, redirects, authentication, defaults to be
        # merged) is nothing that services need, and cost as much again.
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=50, keepalive_expiry=15)
        self._transport = transport or httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
        self._extensions = {"timeout": httpx.Timeout(self._deadline).as_dict()}
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=settings.breaker_failures,
            reset_timeout=self._reset,
            exclude=[_says_nothing],
            listeners=[_Watch(name, service)],
            throw_new_error_on_trip=False,
        )
        self._trial = False
        self._budget = _BUDGET
        for outcome in ("answered", "failed", "refused"):
            CALLS.labels(service, name, outcome)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Sends a request, of which sending it twice must do no more than once: it is retried. An answer below 500 is
        returned, whatever it says.

        Raises:
            Unavailable: no such answer came within the deadline, or the breaker is open (then at once).
        """
        all_headers = {**self._headers, "X-Request-ID": context.request_id.get() or "", **(headers or {})}
        ends = time.monotonic() + self._deadline
        self._budget = min(_BUDGET, self._budget + _BUDGET_PER_CALL)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = await self._guarded(method, path, json, all_headers, ends)
            except pybreaker.CircuitBreakerError:
                self._count("refused")
                raise Unavailable(f"The service {self.name} is unwell and is given time. Try again shortly.",
                                  retry_after=self._reset) from None  # fmt: skip
            except _Failed as failure:
                self._count("failed")
                pause = random.uniform(0, 0.05 * 2**attempt)  # noqa: S311 - jitter, not a secret
                if attempt == _ATTEMPTS or time.monotonic() + pause >= ends or self._budget < 1:
                    log.info("%s %s at %s failed: %s", method, path, self.name, failure)
                    raise Unavailable(f"The service {self.name} cannot be reached. Try again shortly.",
                                      retry_after=self._reset) from None  # fmt: skip
                self._budget -= 1
                await asyncio.sleep(pause)
            else:
                self._count("answered")
                return answer
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _guarded(
        self, method: str, path: str, json: Any, headers: Mapping[str, str], ends: float
    ) -> httpx.Response:
        # pybreaker lets every call through while it is half open; one is enough to find out.
        trial = self._breaker.current_state != pybreaker.STATE_CLOSED
        if trial and self._trial:
            raise pybreaker.CircuitBreakerError
        self._trial = trial
        try:
            with self._breaker.calling():
                try:
                    async with asyncio.timeout(max(0.0, ends - time.monotonic())):
                        answer = await self._send(method, path, json, headers)
                except TimeoutError:
                    raise _Failed("no answer within the deadline") from None
                except httpx.RequestError as error:
                    raise _Failed(f"{type(error).__name__} {error}".strip()) from None
                if answer.status_code >= 500:
                    raise _Failed(f"status {answer.status_code}")
                return answer
        finally:
            if trial:
                self._trial = False

    async def _send(self, method: str, path: str, json: Any, headers: Mapping[str, str]) -> httpx.Response:
        if telemetry.dropped():
            return await self._carry(method, path, json, {**headers, **telemetry.inject()})
        attributes = {**self._place, "http.request.method": method, "url.full": masked(self._base_url + path)}
        with telemetry.span(method, SpanKind.CLIENT, attributes) as span:
            answer = await self._carry(method, path, json, {**headers, **telemetry.inject()})
            span.set_attribute("http.response.status_code", answer.status_code)
            if answer.status_code >= 400:
                telemetry.fail(span, str(answer.status_code))
            return answer

    async def _carry(self, method: str, path: str, json: Any, headers: Mapping[str, str]) -> httpx.Response:
        url = self._base_url + path
        request = httpx.Request(method, url, headers=headers, json=json, extensions=self._extensions)
        answer = await self._transport.handle_async_request(request)
        try:
            await answer.aread()
        finally:
            await answer.aclose()
        return answer

    def _count(self, outcome: str) -> None:
        CALLS.labels(self.service, self.name, outcome).inc()

    async def close(self) -> None:
        """Closes its connections."""
        await self._transport.aclose()
