"""The shopping-query service's HTTP: the contract's view of carts, and the checkout."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import Field

from webstore_chassis.auth import Auth
from webstore_chassis.problems import Conflict, NotFound, Unauthorized, responses
from webstore_chassis.schemas import CartNumber, LineOutput, Schema
from webstore_shopping_query.checkout import Checkouts
from webstore_shopping_query.store import Store


class CartOutput(Schema):
    """A cart."""

    id: UUID
    cart_number: str = Field(examples=["900"])
    customer_id: str
    cart_lines: list[LineOutput]


class Carts(Schema):
    """A customer's carts, by number."""

    carts: list[CartOutput]


class OrderOutput(Schema):
    """The order that a checkout made."""

    id: UUID
    status: str = Field(examples=["PENDING"])
    time_stamp: datetime
    order_lines: list[LineOutput]


def routes(store: Store, checkouts: Checkouts, auth: Auth) -> list[APIRouter]:
    """The service's routes."""
    router = APIRouter(prefix="/shopping-query", tags=["shopping-query"])
    Customer = Annotated[str, *auth.customer]

    @router.get("/carts", response_model=Carts, responses=responses(Unauthorized))
    async def list_carts(customer_id: Customer) -> Response:
        """The caller's carts, by number. They follow the commands within moments; a checkout does not wait for that."""
        return Response(await store.carts(customer_id), media_type="application/json")

    @router.post(
        "/{cart_number}/checkout", response_model=OrderOutput, responses=responses(NotFound, Conflict, Unauthorized)
    )
    async def check_out(
        cart_number: Annotated[CartNumber, Path(description="The cart's number")], customer_id: Customer
    ) -> dict[str, Any]:
        """Makes an order of all that is in the cart, and empties it. It sees every change that was answered before."""
        return await checkouts.check_out(customer_id, cart_number)

    return [router]
