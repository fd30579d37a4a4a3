"""The checkout: sees every write that was answered before it, and makes one order of what it saw, whatever is
repeated or crashes.
"""

import logging
from typing import Any

from webstore_chassis.client import Downstream
from webstore_chassis.problems import Conflict, NotFound, Unavailable
from webstore_shopping_query.command import ShoppingCommand
from webstore_shopping_query.domain import stream
from webstore_shopping_query.store import Checkout, EmptyCart, Store

log = logging.getLogger(__name__)

_KEPT = "Your checkout is kept and is finished by itself; sending it again gives you its order."


class Checkouts:
    """The use case.

    Args:
        command: what has the cart's newest events.
        order: the service that keeps orders.
    """

    def __init__(self, store: Store, command: ShoppingCommand, order: Downstream) -> None:
        self._store = store
        self._command = command
        self._order = order

    async def check_out(self, customer_id: str, cart_number: str) -> dict[str, Any]:
        """Orders what is in the cart, and empties it; returns the order.

        A checkout that an earlier request left unfinished is finished first. If that had all there is, its order is
        the answer.

        Raises:
            NotFound: the customer has no such cart.
            Conflict: the cart is empty.
            Unavailable: shopping-command or order cannot be reached.
        """
        version = await self._command.catch_up(customer_id, cart_number)
        if version == 0:
            raise NotFound(f"You have no cart {cart_number}. Adding a product makes one.")
        order: dict[str, Any] | None = None
        while True:
            try:
                checkout = await self._store.begin_checkout(stream(customer_id, cart_number))
            except EmptyCart as empty:
                if order is not None:
                    return order
                raise _empty(cart_number, empty) from None
            order = await self.finish(checkout)
            if checkout.cart_version >= version:
                return order

    async def finish(self, checkout: Checkout) -> dict[str, Any]:
        """Creates the order, or finds that it exists, and closes the checkout; every repetition gets the same order."""
        try:
            answer = await self._order.request(
                "POST",
                "/order",
                json={"orderLines": checkout.lines},
                headers={"Customer-ID": checkout.customer_id, "Idempotency-Key": checkout.key},
            )
        except Unavailable as error:
            raise Unavailable(f"{error} {_KEPT}", retry_after=float(error.headers["Retry-After"])) from None
        if answer.status_code != 201:
            raise Unavailable(f"order answered {answer.status_code} to a new order. Its log says why. {_KEPT}")
        order: dict[str, Any] = answer.json()
        await self._store.finish_checkout(checkout, order["id"])
        return order

    async def finish_left_behind(self, age_seconds: float) -> None:
        """The sweep: finishes what a crash, or an order service that was away, left unfinished."""
        for checkout in await self._store.left_behind(age_seconds):
            try:
                order = await self.finish(checkout)
            except Unavailable as error:  # one that cannot be finished holds up no other
                log.warning("the checkout %s still waits: %s", checkout.key, error)
            else:
                log.info("finished the checkout %s that was left behind: order %s", checkout.key, order["id"])


def _empty(cart_number: str, empty: EmptyCart) -> Conflict:
    detail = f"Your cart {cart_number} is empty. Add a product first."
    if empty.order_id is None:
        return Conflict(detail)
    return Conflict(f"{detail} Its last checkout made order {empty.order_id}.", orderId=empty.order_id)
