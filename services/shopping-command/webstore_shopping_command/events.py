"""What shopping-command publishes and consumes."""

from collections.abc import Awaitable, Callable, Sequence

from webstore_chassis.events import Event
from webstore_shopping_command.store import Store

# `cart-checked-out` is not in the contract: it carries the stream's remaining versions to the read model, which
# would see gaps.
PUBLISHES = ["product-added", "product-updated", "product-removed", "cart-checked-out"]
CONSUMES = ["cart-checkout"]


def record_checkouts(store: Store) -> Callable[[Sequence[Event]], Awaitable[None]]:
    """The handler of `cart-checkout`: the checkout becomes part of the cart's own stream."""

    async def handle(events: Sequence[Event]) -> None:
        await store.record_checkouts(events)

    return handle
