"""Placing an order: reserve its lines at product, then make it PLACED. Every step can be repeated, and a crash
between them is swept.
"""

from uuid import UUID

from webstore_chassis import telemetry
from webstore_chassis.client import Downstream
from webstore_chassis.problems import Conflict, NotFound, Unavailable
from webstore_order.domain import Order, Status
from webstore_order.store import Store

_ATTEMPTS = 3


class Placing:
    """The use case.

    Args:
        product: the service that keeps the stock.
    """

    def __init__(self, store: Store, product: Downstream) -> None:
        self._store = store
        self._product = product

    async def place(self, order_id: UUID, customer_id: str) -> Order:
        """Returns the order, PLACED, whether by this call or by an earlier one.

        Raises:
            NotFound: the customer has no such order.
            Conflict: not all of it is in stock.
            Unavailable: product cannot be reached; the order stays as it was.
        """
        for _ in range(_ATTEMPTS):
            order = await self._store.get(order_id, customer_id)
            if order is None:
                raise unknown(order_id)
            if order.status is Status.PLACED:
                return order
            with telemetry.resumed("place order", order.trace):
                await self._reserve(order)
                # False: another call placed it, or product's sweep withdrew this attempt because it took too long. Look
                # again.
                await self._store.place(order)
        raise Unavailable("Placing the order was interrupted several times. Try again shortly.")

    async def _reserve(self, order: Order) -> None:
        body = {"attempt": order.attempt, "lines": list(order.order_lines)}
        answer = await self._product.request("PUT", f"/internal/reservations/{order.id}", json=body)
        if answer.status_code == 409:
            problem = answer.json()
            raise Conflict(problem["detail"], shortages=problem["shortages"])
        if answer.status_code != 200:
            raise Unavailable(f"product answered {answer.status_code} to a reservation. The log of product says why.")


def unknown(order_id: object) -> NotFound:
    """The refusal for an order that is not there, or not the caller's: the two cannot be told apart from outside."""
    return NotFound(f"You have no order {order_id}. GET /order lists yours.")
