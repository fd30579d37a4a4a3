"""Carts: commands that meet, long streams, and the read model that follows them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy.engine import make_url

from tests.databases import SERVICES, Databases
from tests.service.conftest import build, listening, living, running_store
from webstore_chassis.journal import Journal
from webstore_chassis.service import Surroundings
from webstore_chassis.settings import Settings
from webstore_chassis.transport import Local, Message
from webstore_shopping_query.store import Store

ANN = {"Customer-ID": "ann"}
PATIENT = {"http_deadline_seconds": 60}
SNAPSHOT_EVERY = 10


@pytest.fixture
def frequent_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webstore_shopping_command.store.SNAPSHOT_EVERY", SNAPSHOT_EVERY)


async def sell(client: httpx.AsyncClient, number: str, quantity: int = 1_000_000) -> None:
    new = {"productNumber": number, "name": "thing", "price": 1, "stock": {"quantity": quantity}}
    assert (await client.post("/product", json=new)).status_code == 201


async def add(client: httpx.AsyncClient, number: str, quantity: int = 1, cart: str = "900") -> httpx.Response:
    line = {"productNumber": number, "quantity": quantity}
    return await client.post(f"/shopping-command/add-to-cart/{cart}", json=line, headers=ANN)


async def events(client: httpx.AsyncClient, cart: str, after: int = 0) -> list[dict[str, Any]]:
    answer = await client.get(f"/shopping-command/{cart}/events?after={after}", headers=ANN)
    return list(answer.json()["events"])


async def viewed(client: httpx.AsyncClient, cart: str) -> dict[str, int]:
    carts = (await client.get("/shopping-query/carts", headers=ANN)).json()["carts"]
    lines = next((c["cartLines"] for c in carts if c["cartNumber"] == cart), [])
    return {line["productNumber"]: line["quantity"] for line in lines}


async def until_viewed(client: httpx.AsyncClient, cart: str, lines: dict[str, int]) -> None:
    async with asyncio.timeout(60):
        while await viewed(client, cart) != lines:
            await asyncio.sleep(0.02)


async def test_checkouts_that_cannot_be_finished_keep_no_other_from_it(databases: Databases) -> None:
    url = databases.of("shopping-query")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("""
            INSERT INTO checkout (stream, cart_version, customer_id, cart_number, lines, begun_at)
            SELECT 'cart/eve/' || n, 1, 'eve', n, '[]', now() - make_interval(hours => 200 - n)
            FROM generate_series(1, 150) AS n
        """)
    database = SERVICES["shopping-query"].database(Settings(database_url=url))
    store = Store(database, Journal(database))
    swept: set[str] = set()
    for _ in range(100):
        swept |= {checkout.stream for checkout in await store.left_behind(60)}
    await database.close()
    assert len(swept) == 150


@pytest.fixture(scope="module")
async def shop(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    async with running_store(databases, tmp_path_factory.mktemp("carts"), **PATIENT) as (_, client):
        for number in ("001", "002", "003"):
            await sell(client, number)
        yield client


async def test_commands_on_one_cart_at_one_moment_all_succeed(shop: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(add(shop, "001", cart="busy") for _ in range(60)))
    assert {answer.status_code for answer in answers} == {200}
    assert [event["version"] for event in await events(shop, "busy")] == list(range(1, 61))
    await until_viewed(shop, "busy", {"001": 60})


async def test_a_cart_that_would_hold_more_than_an_order_takes_is_refused_and_can_still_be_checked_out(
    shop: httpx.AsyncClient,
) -> None:
    assert (await add(shop, "001", 1_000_000, "full")).status_code == 200
    more = {"productNumber": "001", "name": "thing", "price": 1, "stock": {"quantity": 5_000_000}}
    product = next(p for p in (await shop.get("/product")).json()["products"] if p["productNumber"] == "001")
    assert (await shop.post(f"/product/{product['id']}", json=more)).status_code == 201
    refused = await add(shop, "001", 1_000_000, "full")
    assert (refused.status_code, "at most" in refused.json()["detail"]) == (409, True)
    assert (await shop.get("/shopping-query/carts", headers=ANN)).status_code == 200
    assert (await shop.post("/shopping-query/full/checkout", headers=ANN)).status_code == 200


async def test_a_stream_is_paged_from_any_version(shop: httpx.AsyncClient) -> None:
    for _ in range(3):
        await add(shop, "002", cart="paged")
    assert [event["version"] for event in await events(shop, "paged", after=1)] == [2, 3]
    assert await events(shop, "paged", after=3) == []
    assert await events(shop, "never-was") == []


@pytest.mark.usefixtures("frequent_snapshots")
async def test_a_long_stream_is_loaded_from_its_newest_snapshot(databases: Databases, tmp_path: Path) -> None:
    url = databases.of("shopping-command")
    async with shopping_command_alone(databases, tmp_path, url) as client:
        for _ in range(2 * SNAPSHOT_EVERY + 5):
            await add(client, "001")
        with psycopg.connect(url) as connection:
            (version, state) = connection.execute("SELECT version, state FROM snapshot").fetchone() or (0, {})
            assert version == 2 * SNAPSHOT_EVERY
            assert sum(state["entries"]["001"].values()) == version
            # What is before the snapshot is not read any more: even if it were not there, the cart is as it was.
            connection.execute("DELETE FROM journal WHERE version <= %s", [version])
        refused = await add(client, "001", 1_000_000 - 1)
        assert f"would hold {2 * SNAPSHOT_EVERY + 5 + 999_999}" in refused.json()["detail"]
        assert (await client.delete("/shopping-command/900/001", headers=ANN)).status_code == 200
        assert (await events(client, "900", after=2 * SNAPSHOT_EVERY))[-1]["version"] == 2 * SNAPSHOT_EVERY + 6


@pytest.mark.usefixtures("frequent_snapshots")
async def test_an_old_snapshot_serves_as_well_as_the_newest(databases: Databases, tmp_path: Path) -> None:
    url = databases.of("shopping-command")
    async with shopping_command_alone(databases, tmp_path, url) as client:
        for _ in range(SNAPSHOT_EVERY):
            await add(client, "001")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE old AS TABLE snapshot")
        for _ in range(SNAPSHOT_EVERY + 3):
            await add(client, "002")
        with psycopg.connect(url) as connection:
            connection.execute("DELETE FROM snapshot")
            connection.execute("INSERT INTO snapshot SELECT * FROM old")
        refused = await add(client, "002", 1_000_000 - 1)
        assert f"would hold {SNAPSHOT_EVERY + 3 + 999_999}" in refused.json()["detail"]


async def test_a_checkouts_event_that_comes_again_is_recorded_once(databases: Databases, tmp_path: Path) -> None:
    url, transport = databases.of("shopping-command"), Local(1, tmp_path / "dead")
    async with shopping_command_alone(databases, tmp_path, url, transport) as client:
        await add(client, "001", 3)
        checkout = message("cart-checkout", "checkout/cart/ann/900@1", 1, cartVersion=1, orderId="an order")
        await asyncio.gather(*(transport.publish([checkout, checkout]) for _ in range(5)))
        assert [event["type"] for event in await events(client, "900")] == ["product-added", "cart-checked-out"]


def message(topic: str, stream: str, version: int, type_: str | None = None, **data: Any) -> Message:
    value = {"customerId": "ann", "cartNumber": "900", **data}
    return Message(topic, stream, json.dumps(value).encode(), {"type": type_ or topic, "version": str(version)})


@asynccontextmanager
async def shopping_command_alone(
    databases: Databases, folder: Path, url: str, transport: Local | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """shopping-command with a product service that has a million of everything."""
    stock = FastAPI()
    stock.add_api_route("/product/{number}", lambda number: 1_000_000)
    async with listening(stock) as product:
        transport = transport or Local(1, folder / "dead")
        settings = {"database_url": url, "product_url": product, **PATIENT}
        # Nothing follows: this is the write side alone.
        async with living(build("shopping-command", databases, Surroundings(transport), **settings)) as client:
            yield client


@asynccontextmanager
async def both_sides(
    databases: Databases, folder: Path
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient, Local]]:
    """The write side and the read side, with the test in the place of the topics between them."""
    never, topics = Local(2, folder / "dead"), Local(1, folder / "dead-2")
    async with (
        shopping_command_alone(databases, folder, databases.of("shopping-command"), never) as command,
        listening(command._transport.app) as url,  # type: ignore[attr-defined]
        living(build("shopping-query", databases, Surroundings(topics), shopping_command_url=url, **PATIENT)) as query,
    ):
        yield command, query, topics


async def test_the_read_model_fetches_what_a_gap_says_is_missing(databases: Databases, tmp_path: Path) -> None:
    async with both_sides(databases, tmp_path) as (command, query, topics):
        for _ in range(4):
            await add(command, "001", 2)
        added = [
            message("product-added", "cart/ann/900", version, productNumber="001", quantity=2)
            for version in range(1, 5)
        ]
        await topics.publish([added[0]])
        assert await viewed(query, "900") == {"001": 2}
        await topics.publish([added[3]])  # two and three are on another topic, or lost
        assert await viewed(query, "900") == {"001": 8}
        await topics.publish([added[1], added[3], added[0]])  # and come late
        assert await viewed(query, "900") == {"001": 8}


async def test_the_read_model_is_the_same_in_whatever_order_events_come_and_however_often(
    databases: Databases, tmp_path: Path
) -> None:
    async with both_sides(databases, tmp_path) as (command, query, topics):
        await add(command, "001", 2)
        await add(command, "002", 5)
        line = {"productNumber": "001", "quantity": 7}
        assert (await command.post("/shopping-command/update-cart/900", json=line, headers=ANN)).status_code == 200
        assert (await command.delete("/shopping-command/900/002", headers=ANN)).status_code == 200
        stream = [message(e["type"], "cart/ann/900", e["version"], **e["data"]) for e in await events(command, "900")]
        await asyncio.gather(*(topics.publish([each]) for each in [*reversed(stream), *stream]))
        assert await viewed(query, "900") == {"001": 7}


@pytest.mark.parametrize("value", [b"no JSON", b"[" * 100_000, b'{"customerId": "ann"}', b'{"quantity": "x"}'])
async def test_a_poisoned_message_is_a_dead_letter_and_the_next_is_read(
    databases: Databases, tmp_path: Path, value: bytes
) -> None:
    async with both_sides(databases, tmp_path) as (command, query, topics):
        await add(command, "001", 2)
        good = message("product-added", "cart/ann/900", 1, productNumber="001", quantity=2)
        bad = Message("product-added", "cart/ann/1", value, {"type": "product-added", "version": "1"})
        await topics.publish([bad, good, bad])
        assert await viewed(query, "900") == {"001": 2}
        dead = [json.loads(line) for line in (tmp_path / "dead-2").read_text().splitlines()]
        assert [letter["topic"] for letter in dead] == ["product-added.dlq"] * 2


@asynccontextmanager
async def shoppers(client: httpx.AsyncClient, number: str) -> AsyncIterator[list[int]]:
    """Customers who shop until the end of the block; gives the statuses of what they were answered."""
    statuses: list[int] = []

    async def shop_on(customer: int) -> None:
        headers = {"Customer-ID": f"shopper-{customer}"}
        line = {"productNumber": number, "quantity": 1}
        while True:
            for method, path, body in (
                ("POST", "/shopping-command/add-to-cart/1", line),
                ("GET", "/shopping-query/carts", None),
                ("POST", "/shopping-query/1/checkout", None),
                ("POST", "/shopping-command/add-to-cart/2", line),
            ):
                statuses.append((await client.request(method, path, json=body, headers=headers)).status_code)

    tasks = [asyncio.create_task(shop_on(customer)) for customer in range(4)]
    try:
        yield statuses
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_read_model_is_rebuilt_while_it_serves_and_equals_the_live_one(
    databases: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_store(databases, tmp_path, **PATIENT) as (store, client):
        await sell(client, "001")
        for cart in range(20):
            await add(client, "001", 1, str(cart))
        async with shoppers(client, "001") as statuses:
            for _ in range(3):
                before = len(statuses)
                await store.rebuild()
                assert "equals the one that it replaced" in capsys.readouterr().out
                assert len(statuses) > before
        assert set(statuses) == {200}


async def test_a_rebuild_repairs_a_read_model_that_is_wrong_and_says_so(
    databases: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_store(databases, tmp_path, **PATIENT) as (store, client):
        await sell(client, "001")
        await add(client, "001", 3)
        await until_viewed(client, "900", {"001": 3})
        url = make_url(databases.url).set(database="shopping_query").render_as_string(hide_password=False)
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE read_model.cart_entry SET quantity = 99")
        assert await viewed(client, "900") == {"001": 99}
        await store.rebuild()
        assert "1 carts were different before: cart/ann/900" in capsys.readouterr().out
        assert await viewed(client, "900") == {"001": 3}
