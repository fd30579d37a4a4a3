"""What a mail about an order says, and when a failed one is tried again. Pure rules, no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from html import escape
from typing import Any
from uuid import UUID

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 2.0, 900.0


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to write.

    Args:
        lines: the order's, `{"productNumber": …, "quantity": …}` each.
        attempts: how often sending it was begun.
        trace: the trace context of the order's event.
    """

    order_id: UUID
    customer_id: str
    lines: Sequence[Mapping[str, Any]]
    attempts: int
    trace: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom to write to."""

    name: str
    address: str


def compose(mail: Mail, recipient: Recipient, sender: str) -> EmailMessage:
    """The message, as text and as HTML. Its Message-ID is the order's, so a mailbox can tell a repetition (RFC 5322,
    3.6.4).
    """
    message = EmailMessage()
    message["Message-ID"] = f"<order-{mail.order_id}@{sender.rpartition('@')[2]}>"
    # Not `formataddr`: what it encodes may come out of the message with its commas and brackets bare.
    message["From"] = Address("WebStore", *sender.rsplit("@", 1))
    message["To"] = Address(recipient.name, *recipient.address.rsplit("@", 1))
    message["Subject"] = f"Your order {mail.order_id}"
    lines = [f"{line['quantity']} × {line['productNumber']}" for line in mail.lines]
    greeting, thanks = f"Hello {recipient.name},", "thank you for your order. It is placed, and has:"
    message.set_content(
        "\n".join([greeting, "", thanks, "", *(f"  {line}" for line in lines), "", f"Order {mail.order_id}", ""])
    )
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    message.add_alternative(
        f"<p>{escape(greeting)}</p><p>{thanks}</p><ul>{items}</ul><p>Order {mail.order_id}</p>\n", subtype="html"
    )
    return message


def pause_after(attempts: int) -> float:
    """Seconds to wait after so many failures: doubling, up to a quarter of an hour."""
    doublings = min(attempts - 1, 10)  # more would overflow, once a server has been down for weeks
    return min(_FIRST_PAUSE_SECONDS * 2.0**doublings, _LONGEST_PAUSE_SECONDS)
