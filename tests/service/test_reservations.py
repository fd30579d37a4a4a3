"""Reservations at product, and what becomes of those that were left behind."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI, Response

from tests.databases import Databases
from tests.service.conftest import build, listening, living
from webstore_chassis.service import Surroundings
from webstore_chassis.transport import Local

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
