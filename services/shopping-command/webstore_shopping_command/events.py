"""What shopping-command publishes and consumes."""

from collections.abc import Awaitable, Callable, Sequence

from webstore_chassis.events import Event
from webstore_shopping_command.domain import ADDED, CHECKED_OUT, REMOVED, UPDATED, Cart, CartKey
from webstore_shopping_command.store import Store

# `cart-checked-out` is not in the contract: it carries the stream's remaining versions to the read model, which
# would see gaps.
PUBLISHES = [ADDED, UPDATED, REMOVED, CHECKED_OUT]
CONSUMES = ["cart-checkout"]


def record_checkouts(store: Store) -> Callable[[Sequence[Event]], Awaitable[None]]:
    """The handler of `cart-checkout`: the checkout becomes part of the cart's own stream."""

    async def handle(events: Sequence[Event]) -> None:
        await store.record(events, _cart_of, _check_out)

    return handle


def _cart_of(checkout: Event) -> CartKey:
    return CartKey(checkout.data["customerId"], checkout.data["cartNumber"])


def _check_out(cart: Cart, checkout: Event) -> Event:
    return cart.check_out(str(checkout.data["orderId"]), int(checkout.data["cartVersion"]))
