"""What shopping-query publishes and consumes: it projects the carts' events into the read model."""

from collections.abc import Awaitable, Callable, Sequence

from webstore_chassis.consumer import handling
from webstore_chassis.events import Event
from webstore_shopping_query.command import ShoppingCommand
from webstore_shopping_query.store import Store

PUBLISHES = ["cart-checkout"]
CONSUMES = ["product-added", "product-updated", "product-removed", "cart-checked-out"]


def project(store: Store, command: ShoppingCommand) -> Callable[[Sequence[Event]], Awaitable[None]]:
    """The handler of the carts' events. The version of each stream is its inbox; what is missing is fetched."""

    async def handle(events: Sequence[Event]) -> None:
        gaps = await store.apply(events)
        for event in {event.stream: event for event in events if event.stream in gaps}.values():
            with handling(event):
                await command.catch_up(event.data["customerId"], event.data["cartNumber"])

    return handle
