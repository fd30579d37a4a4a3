"""What an order is, and how it comes to be placed. Pure rules, no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

Lines = Sequence[Mapping[str, Any]]


class Status(StrEnum):
    """An order begins PENDING; PLACED is final."""

    PENDING = "PENDING"
    PLACED = "PLACED"


@dataclass(frozen=True, slots=True)
class Order:
    """An order of one customer.

    Args:
        lines: `{"productNumber": …, "quantity": …}` each, never changed.
        attempt: counts withdrawn attempts to place it. Placing succeeds only with the number that the attempt began
            with, so what was withdrawn in between cannot succeed late.
        trace: the trace context that it was made in.
    """

    id: UUID
    customer_id: str
    status: Status
    time_stamp: datetime
    order_lines: Lines
    attempt: int
    trace: Mapping[str, str]

    def placed(self) -> dict[str, Any]:
        """The data of this order's `order-placed`."""
        return {"orderId": str(self.id), "customerId": self.customer_id, "orderLines": list(self.order_lines)}


def stream(order_id: UUID) -> str:
    """The name of an order's stream in the journal."""
    return f"order/{order_id}"
