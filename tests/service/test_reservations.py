"""Reservations at product, and what becomes of those that were left behind."""

import asyncio
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psycopg
from fastapi import FastAPI, Response

from tests.databases import Databases
from tests.service.conftest import build, listening, living
from webstore_chassis.service import Surroundings
from webstore_chassis.settings import Settings
from webstore_chassis.transport import Local
from webstore_product.app import database
from webstore_product.store import NewProduct, Store

PRODUCT = {"productNumber": "001", "name": "laptop", "price": 1, "stock": {"quantity": 1000}}


async def reserve(product: httpx.AsyncClient, order_id: UUID) -> None:
    body = {"attempt": 0, "lines": [{"productNumber": "001", "quantity": 1}]}
    assert (await product.put(f"/internal/reservations/{order_id}", json=body)).status_code == 200


async def test_orders_of_which_order_cannot_tell_keep_no_others_reservation(
    databases: Databases, tmp_path: Path
) -> None:
    bad, good = [uuid4() for _ in range(100)], uuid4()
    order = FastAPI()

    @order.post("/internal/orders/{order_id}/withdraw")
    async def withdraw(order_id: UUID) -> Response:
        return Response('{"placed": false}', 500 if order_id in bad else 200, media_type="application/json")

    async with listening(order) as url:
        settings = {"order_url": url, "sweep_seconds": 0.01, "sweep_age_seconds": 0.01, "breaker_failures": 1_000_000}
        app = build("product", databases, Surroundings(Local(1, tmp_path / "dead")), **settings)
        async with living(app) as product, asyncio.timeout(60):
            await product.post("/product", json=PRODUCT)
            await asyncio.gather(*(reserve(product, order_id) for order_id in bad))
            await reserve(product, good)
            while (await product.get("/product/001")).json() != 900:
                await asyncio.sleep(0.02)


async def test_settling_and_reserving_take_orders_in_one_order_and_never_wait_for_each_other(
    databases: Databases,
) -> None:
    url = databases.of("product")
    first, second = sorted([uuid4(), uuid4()])
    own = database(Settings(database_url=url))
    store = Store(own)
    await store.create(NewProduct(product_number="001", name="laptop", description="", price=Decimal(1), stock=1000))
    for order_id in (second, first):  # the table has them in the other order
        await store.reserve(order_id, 0, [("001", 1)])
    async with await psycopg.AsyncConnection.connect(url) as other, asyncio.timeout(30):
        lock = "SELECT FROM reservation WHERE order_id = %s FOR UPDATE"
        await other.execute(lock, [first])
        settling = asyncio.create_task(store.settle([second, first]))
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
        while await (await other.execute(waiting)).fetchone() is None:
            await asyncio.sleep(0.02)
        await other.execute(f"{lock} NOWAIT", [second])
        await other.commit()
        assert await settling == {first, second}
    await own.close()
