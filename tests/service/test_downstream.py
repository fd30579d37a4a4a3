"""Calls to another service: a deadline, few retries, and a breaker that refuses at once and closes by itself."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Response
from prometheus_client import REGISTRY

from tests.databases import Databases
from tests.service.conftest import build, listening, living
from webstore_chassis.client import Downstream
from webstore_chassis.problems import Unavailable
from webstore_chassis.service import Surroundings
from webstore_chassis.settings import Settings
from webstore_chassis.transport import Local

LINE = {"productNumber": "001", "quantity": 1}
RESET_SECONDS = 0.3


class Other:
    """The other service: answers as it is told, and counts what it is asked."""

    def __init__(self) -> None:
        self.status = 200
        self.pause = 0.0
        self.never = False
        self.end = asyncio.Event()
        self.asked = 0

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.api_route("/{path:path}", methods=["GET", "POST"])
        async def answer(path: str) -> Response:
            self.asked += 1
            await (self.end.wait() if self.never else asyncio.sleep(self.pause))
            return Response("7", self.status)

        return app


@asynccontextmanager
async def calling(url: str, **settings: float) -> AsyncIterator[Downstream]:
    fast = {"breaker_failures": 3, "breaker_reset_seconds": RESET_SECONDS, "http_deadline_seconds": 1, **settings}
    downstream = Downstream(
        "caller", "other", url, Settings.model_validate({"database_url": "postgresql://x/x", **fast})
    )
    try:
        yield downstream
    finally:
        await downstream.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def breaker_state() -> float | None:
    return REGISTRY.get_sample_value("webstore_breaker_state", {"service": "caller", "downstream": "other"})


async def fail(downstream: Downstream, times: int) -> None:
    """Calls that fail, each tried once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("webstore_chassis.client._ATTEMPTS", 1)
        for _ in range(times):
            with pytest.raises(Unavailable):
                await downstream.request("POST", "/")


async def test_an_answer_below_500_is_an_answer() -> None:
    other = Other()
    async with listening(other.app()) as url, calling(url) as downstream:
        for other.status in (200, 201, 404, 409, 422):
            assert (await downstream.request("GET", "/")).status_code == other.status
    assert other.asked == 5


async def test_a_call_that_fails_is_tried_three_times() -> None:
    other = Other()
    other.status = 503
    async with listening(other.app()) as url, calling(url, breaker_failures=100) as downstream:
        with pytest.raises(Unavailable):
            await downstream.request("GET", "/")
        assert other.asked == 3


async def test_retries_end_with_the_budget_so_that_they_are_not_the_load_that_keeps_a_service_down() -> None:
    other = Other()
    other.status = 503
    async with listening(other.app()) as url, calling(url, breaker_failures=10_000) as downstream:
        for _ in range(40):
            with pytest.raises(Unavailable):
                await downstream.request("GET", "/")
    assert 40 + 10 <= other.asked <= 40 + 10 + 40 // 10


async def test_a_service_that_does_not_answer_is_given_up_at_the_deadline() -> None:
    other = Other()
    other.never = True
    async with listening(other.app()) as url, calling(url, http_deadline_seconds=0.2) as downstream:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="cannot be reached"):
            await downstream.request("GET", "/")
        assert time.monotonic() - began < 5
        assert other.asked == 1
        other.end.set()


async def test_the_breaker_opens_after_failures_in_a_row_and_then_nothing_is_sent() -> None:
    other = Other()
    other.status = 500
    async with listening(other.app()) as url, calling(url, breaker_reset_seconds=60) as downstream:
        await fail(downstream, 2)
        other.status = 200
        await downstream.request("POST", "/")
        other.status = 500
        await fail(downstream, 3)
        assert breaker_state() == 2
        asked = other.asked
        with pytest.raises(Unavailable, match="is given time") as refused:
            await downstream.request("GET", "/")
        assert other.asked == asked
        assert refused.value.headers["Retry-After"] == "60"


async def test_one_call_alone_finds_out_whether_the_service_is_well_again() -> None:
    other = Other()
    other.status = 500
    async with listening(other.app()) as url, calling(url) as downstream:
        await fail(downstream, 3)
        other.status, other.pause, asked = 200, 0.2, other.asked
        await asyncio.sleep(RESET_SECONDS + 0.05)
        outcomes = await asyncio.gather(*(downstream.request("GET", "/") for _ in range(10)), return_exceptions=True)
        assert Counter(map(type, outcomes)) == {httpx.Response: 1, Unavailable: 9}
        assert other.asked == asked + 1
        assert breaker_state() == 0


async def test_a_caller_that_goes_away_changes_nothing_of_the_breaker() -> None:
    other = Other()
    other.status = 500
    async with listening(other.app()) as url, calling(url) as downstream:
        await fail(downstream, 2)
        await go_away(downstream, other)
        await fail(downstream, 1)
        assert breaker_state() == 2, "the third failure in a row"
        await asyncio.sleep(RESET_SECONDS + 0.05)
        await go_away(downstream, other)
        assert breaker_state() == 1, "whether the service is well again is still to be found out"
        await fail(downstream, 1)
        assert breaker_state() == 2


async def go_away(downstream: Downstream, other: Other) -> None:
    """A caller goes away while the service has its request."""
    other.never, other.end, asked = True, asyncio.Event(), other.asked
    call = asyncio.create_task(downstream.request("GET", "/"))
    while other.asked == asked:
        await asyncio.sleep(0.005)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    other.never = False
    other.end.set()


async def test_a_service_that_is_still_unwell_opens_the_breaker_again() -> None:
    other = Other()
    other.status = 500
    async with listening(other.app()) as url, calling(url) as downstream:
        await fail(downstream, 3)
        await asyncio.sleep(RESET_SECONDS + 0.05)
        await fail(downstream, 1)
        assert breaker_state() == 2
        asked = other.asked
        await fail(downstream, 1)
        assert other.asked == asked


async def test_with_product_down_the_answer_is_503_within_100_ms_and_the_breaker_closes_by_itself(
    databases: Databases, tmp_path: Path
) -> None:
    port = free_port()
    settings = {"product_url": f"http://127.0.0.1:{port}", "breaker_reset_seconds": RESET_SECONDS}
    command = build("shopping-command", databases, Surroundings(Local(1, tmp_path / "dead")), **settings)
    product = build("product", databases, Surroundings(Local(1, tmp_path / "dead-2")))
    async with living(command) as client, living(product) as at_product:
        client.headers["Customer-ID"] = "ann"
        for _ in range(5):
            await client.post("/shopping-command/add-to-cart/900", json=LINE)
        began = time.monotonic()
        answer = await client.post("/shopping-command/add-to-cart/900", json=LINE)
        assert time.monotonic() - began < 0.1
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"
        new = {"productNumber": "001", "name": "laptop", "price": 1, "stock": {"quantity": 10}}
        assert (await at_product.post("/product", json=new)).status_code == 201
        async with listening(product, port), asyncio.timeout(10):
            while (await client.post("/shopping-command/add-to-cart/900", json=LINE)).status_code != 200:
                await asyncio.sleep(0.05)
        cart = await client.get("/shopping-command/900/events")
        assert [event["type"] for event in cart.json()["events"]] == ["product-added"]
