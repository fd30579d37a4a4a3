"""The other side: shopping-command, which has every event of a cart."""

from webstore_chassis.client import Downstream
from webstore_chassis.events import Event
from webstore_chassis.problems import Unavailable
from webstore_shopping_query.domain import stream
from webstore_shopping_query.store import Store


class ShoppingCommand:
    """Fetches events that the read model does not have yet, and applies them."""

    def __init__(self, store: Store, downstream: Downstream) -> None:
        self._store = store
        self._downstream = downstream

    async def catch_up(self, customer_id: str, cart_number: str) -> int:
        """Brings the read model of a cart to what shopping-command has answered for; returns its version, 0 if there
        is no such cart.

        Raises:
            Unavailable: shopping-command cannot be reached.
        """
        name = stream(customer_id, cart_number)
        version = await self._store.version(name)
        while events := await self.events_after(customer_id, cart_number, version):
            await self._store.apply(events)
            version = events[-1].version
        return version

    async def events_after(self, customer_id: str, cart_number: str, version: int) -> list[Event]:
        """A cart's events after a version, a page of them; none if there are no more.

        Raises:
            Unavailable: shopping-command cannot be reached.
        """
        answer = await self._downstream.request(
            "GET", f"/shopping-command/{cart_number}/events?after={version}", headers={"Customer-ID": customer_id}
        )
        if answer.status_code != 200:
            raise Unavailable(
                f"shopping-command answered {answer.status_code} when asked for events. Its log says why."
            )
        name = stream(customer_id, cart_number)
        return [Event(name, event["version"], event["type"], event["data"]) for event in answer.json()["events"]]
