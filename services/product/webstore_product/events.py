"""What product consumes: `order-placed` makes a reservation final. It publishes nothing."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from webstore_chassis.client import Downstream
from webstore_chassis.events import Event
from webstore_chassis.problems import Unavailable
from webstore_product.store import Store

log = logging.getLogger(__name__)

CONSUMES = ["order-placed"]


class NotReserved(Exception):
    """An order was placed for which nothing is reserved: its stock cannot be accounted for."""


def settle(store: Store) -> Callable[[Sequence[Event]], Awaitable[None]]:
    """The handler of `order-placed`. Settling twice is settling once, so it needs no inbox."""

    async def handle(events: Sequence[Event]) -> None:
        order_ids = {UUID(event.data["orderId"]) for event in events}
        missing = order_ids - await store.settle(list(order_ids))
        if missing:
            raise NotReserved(f"no reservation for order {', '.join(map(str, missing))}")

    return handle


def release_left_behind(store: Store, order: Downstream, age_seconds: float) -> Callable[[], Awaitable[None]]:
    """The sweep: asks order about old unsettled reservations, frees those whose order is not placed, and settles those
    whose order is, as their event may be a dead letter.

    Asking withdraws the attempt at order, so that an attempt that was only slow cannot place the order after its
    stock was freed; a new attempt has a higher number, which `release` leaves alone.
    """

    async def sweep() -> None:
        for order_id, attempt in await store.unsettled(age_seconds):
            try:
                answer = await order.request("POST", f"/internal/orders/{order_id}/withdraw", json={"attempt": attempt})
            except Unavailable as error:  # one of which order cannot tell holds up no other
                log.warning("what order %s has reserved still waits: %s", order_id, error)
                continue
            if answer.status_code not in (200, 404):
                log.warning("order answered %d about the order %s", answer.status_code, order_id)
            elif answer.status_code == 200 and answer.json()["placed"]:
                await store.settle([order_id])
            elif await store.release(order_id, attempt):
                log.info("released what order %s had reserved and not placed", order_id)
        await store.forget_old()

    return sweep
