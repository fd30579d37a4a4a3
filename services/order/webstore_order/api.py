"""The order service's HTTP: the contract's paths below /order, and what product asks."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path
from pydantic import BaseModel, Field

from webstore_chassis.auth import Auth
from webstore_chassis.problems import Conflict, NotFound, Unauthorized, id_in_path, responses
from webstore_chassis.schemas import MOST_LINES, Line, LineOutput, Schema
from webstore_order.domain import Order, Status
from webstore_order.placing import Placing, unknown
from webstore_order.store import KeyReused, Store


class OrderInput(Schema):
    """What to order."""

    order_lines: list[Line] = Field(min_length=1, max_length=MOST_LINES)


class OrderOutput(Schema):
    """An order."""

    id: UUID
    status: Status
    time_stamp: datetime
    order_lines: list[LineOutput]


class Orders(Schema):
    """A customer's orders, oldest first."""

    orders: list[OrderOutput]


class Attempt(BaseModel):
    """An attempt to place an order."""

    attempt: int = Field(ge=0)


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x20-\x7e]{1,400}$",
        description="Repeating a request with the same key returns the order that the first one made",
    ),
]
OrderId = Annotated[
    str, Path(max_length=100, description="An order's id", examples=["7a1e6c5e-9f3d-4f0e-8a6b-0b8f6d2f4c11"])
]


def routes(store: Store, placing: Placing, auth: Auth) -> list[APIRouter]:
    """The service's routes."""
    router = APIRouter(tags=["order"])
    Customer = Annotated[str, *auth.customer]

    @router.post("/order", status_code=201, response_model=OrderOutput, responses=responses(Conflict, Unauthorized))
    async def create_order(order: OrderInput, customer_id: Customer, idempotency_key: IdempotencyKey = None) -> Order:
        """Creates a PENDING order. Nothing is reserved until it is placed."""
        lines = [{"productNumber": line.product_number, "quantity": line.quantity} for line in order.order_lines]
        try:
            return await store.create(customer_id, lines, idempotency_key)
        except KeyReused:
            raise Conflict(
                "This Idempotency-Key made an order with other lines. Use a new key for a new order."
            ) from None

    @router.get("/order", response_model=Orders, responses=responses(Unauthorized))
    async def list_orders(customer_id: Customer) -> dict[str, Sequence[Order]]:
        """The caller's orders, oldest first."""
        return {"orders": await store.of_customer(customer_id)}

    @router.post(
        "/order/{order_id}/place", response_model=OrderOutput, responses=responses(NotFound, Conflict, Unauthorized)
    )
    async def place_order(order_id: OrderId, customer_id: Customer) -> Order:
        """Places an order: all its lines are taken from the stock, or none. Placing it again changes nothing."""
        return await placing.place(id_in_path(order_id, unknown), customer_id)

    internal = APIRouter(prefix="/internal", include_in_schema=False, dependencies=auth.internal)

    @internal.post("/orders/{order_id}/withdraw")
    async def withdraw(order_id: UUID, attempt: Attempt) -> dict[str, bool]:
        placed = await store.withdraw(order_id, attempt.attempt)
        if placed is None:
            raise unknown(order_id)
        return {"placed": placed}

    return [router, internal]
