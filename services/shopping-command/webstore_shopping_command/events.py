"""What shopping-command publishes and consumes."""

from collections.abc import Awaitable, Callable, Sequence

from webstore_chassis.consumer import handling
from webstore_chassis.events import Event
from webstore_shopping_command.domain import ADDED, CHECKED_OUT, REMOVED, UPDATED, Cart, CartKey
from webstore_shopping_command.store import Store

# `cart-checked-out` is not in the contract: it carries the stream's remaining versions to the read model, which
# would see gaps.
PUBLISHES = {
    ADDED: "product-added",
    UPDATED: "product-updated",
    REMOVED: "product-removed",
    CHECKED_OUT: "cart-checked-out",
}
CONSUMES = ["cart-checkout"]


def record_checkouts(store: Store) -> Callable[[Sequence[Event]], Awaitable[None]]:
    """The handler of `cart-checkout`: the checkout becomes part of the cart's own stream."""

    async def handle(events: Sequence[Event]) -> None:
        for event in events:
            with handling(event):
                await _record(store, event)

    return handle


async def _record(store: Store, event: Event) -> None:
    key = CartKey(event.data["customerId"], event.data["cartNumber"])
    order_id, cart_version = str(event.data["orderId"]), int(event.data["cartVersion"])

    def decide(cart: Cart) -> Event:
        return cart.check_out(order_id, cart_version)

    await store.record_checkout(key, event, decide)
