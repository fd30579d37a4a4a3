"""What customer consumes: `order-placed` has a mail sent. It publishes nothing."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from webstore_chassis import telemetry
from webstore_chassis.events import Event
from webstore_customer.domain import Mail
from webstore_customer.mailer import Mailer
from webstore_customer.store import Store

CONSUMES = ["order-placed"]


def write_mails(store: Store, mailer: Mailer) -> Callable[[Sequence[Event]], Awaitable[None]]:
    """The handler of `order-placed`. It only notes the mails, so a dead mail server holds up no event."""

    async def handle(events: Sequence[Event]) -> None:
        await store.add_mails([_mail(event) for event in events])
        mailer.wake()

    return handle


def _mail(event: Event) -> Mail:
    lines = [
        {"productNumber": str(line["productNumber"]), "quantity": int(line["quantity"])}
        for line in event.data["orderLines"]
    ]
    return Mail(UUID(event.data["orderId"]), str(event.data["customerId"]), lines, 0, telemetry.carried(event.metadata))
