"""The shopping-command service's HTTP: the contract's commands on carts, and the events that they left."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from webstore_chassis.auth import Auth
from webstore_chassis.client import Downstream
from webstore_chassis.events import Cursor, Event
from webstore_chassis.journal import Journal, VersionConflict
from webstore_chassis.problems import BadRequest, Conflict, NotFound, Unauthorized, Unavailable, responses
from webstore_chassis.schemas import CartNumber, Line, Schema
from webstore_shopping_command.domain import Cart, CartFull, CartKey, NoSuchCart, NoSuchLine, NotEnoughInStock
from webstore_shopping_command.store import Store


class EventOutput(Schema):
    """Something that happened to a cart."""

    version: int = Field(examples=[1])
    type: str = Field(examples=["product-added"])
    data: dict[str, Any]
    recorded_at: datetime | None


class Events(Schema):
    """A stretch of a cart's events, in order; a thousand at the most."""

    events: list[EventOutput]


class JournalEvent(BaseModel):
    """An event of any cart."""

    stream: str
    version: int
    type: str
    data: dict[str, Any]


class JournalPage(BaseModel):
    """A stretch of the journal, in its order; the next one begins at `cursor`."""

    events: list[JournalEvent]
    cursor: str
    unsettled: bool
    total: int | None


CartPath = Annotated[CartNumber, Path(description="The cart's number, the customer's own choice")]
ProductPath = Annotated[str, Path(max_length=100, examples=["001"])]


def routes(store: Store, journal: Journal, product: Downstream, auth: Auth) -> list[APIRouter]:
    """The service's routes."""
    router = APIRouter(prefix="/shopping-command", tags=["shopping-command"])
    Customer = Annotated[str, *auth.customer]
    refusals = responses(NotFound, Conflict, Unauthorized)

    @router.post("/add-to-cart/{cart_number}", responses=refusals)
    async def add_to_cart(cart_number: CartPath, line: Line, customer_id: Customer) -> None:
        """Puts so many more of a product into the cart. The first product makes the cart."""
        in_stock = await _in_stock(product, line.product_number)
        await _change(
            store,
            CartKey(customer_id, cart_number),
            lambda cart: cart.add(line.product_number, line.quantity, in_stock),
        )

    @router.post("/update-cart/{cart_number}", responses=refusals)
    async def update_cart(cart_number: CartPath, line: Line, customer_id: Customer) -> None:
        """Sets the quantity of a product that is in the cart."""
        in_stock = await _in_stock(product, line.product_number)
        await _change(
            store,
            CartKey(customer_id, cart_number),
            lambda cart: cart.update(line.product_number, line.quantity, in_stock),
        )

    @router.delete("/{cart_number}/{product_number}", responses=refusals)
    async def remove_from_cart(cart_number: CartPath, product_number: ProductPath, customer_id: Customer) -> None:
        """Takes a product out of the cart."""
        await _change(store, CartKey(customer_id, cart_number), lambda cart: cart.remove(product_number))

    @router.get("/{cart_number}/events", response_model=Events, responses=responses(Unauthorized))
    async def cart_events(
        cart_number: CartPath, customer_id: Customer, after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0
    ) -> dict[str, Sequence[Event]]:
        """What happened to the cart after a version, in order: what a read model that has fallen behind needs."""
        return {"events": await journal.stream(CartKey(customer_id, cart_number).stream, after)}

    router_of_services = APIRouter(prefix="/internal", include_in_schema=False, dependencies=auth.internal)

    @router_of_services.get("/journal", response_model=JournalPage)
    async def read_journal(after: str = "0-0", limit: Annotated[int, Query(ge=1, le=10_000)] = 5000) -> dict[str, Any]:
        try:
            cursor = Cursor.parse(after)
        except ValueError:
            raise BadRequest("`after` is not a cursor: take the one that the last page gave.") from None
        page = await journal.read(cursor, limit)
        total = await journal.count() if cursor == Cursor() else None
        return {"events": page.events, "cursor": str(page.cursor), "unsettled": page.unsettled, "total": total}

    return [router, router_of_services]


async def _in_stock(product: Downstream, product_number: str) -> int:
    answer = await product.request("GET", f"/product/{product_number}")
    if answer.status_code == 404:
        raise NotFound(f"There is no product with the number {product_number}. GET /product lists them all.")
    if answer.status_code != 200:
        raise Unavailable(
            f"product answered {answer.status_code} when asked for its stock. The log of product says why."
        )
    return int(answer.text)


async def _change(store: Store, key: CartKey, decide: Callable[[Cart], Event]) -> None:
    try:
        await store.change(key, decide)
    except (NotEnoughInStock, CartFull) as error:
        raise Conflict(str(error)) from None
    except NoSuchCart:
        raise NotFound(f"You have no cart {key.cart_number}. Adding a product makes one.") from None
    except NoSuchLine:
        raise NotFound(
            f"This product is not in your cart {key.cart_number}. GET /shopping-query/carts shows what is."
        ) from None
    except VersionConflict:
        raise Conflict(
            f"Your cart {key.cart_number} is being changed by many requests at once. Send this one again."
        ) from None
