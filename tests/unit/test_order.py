"""An order, and what its event says."""

from datetime import UTC, datetime
from uuid import UUID

from webstore_order.domain import Order, Status, stream

ID = UUID("7a1e6c5e-9f3d-4f0e-8a6b-0b8f6d2f4c11")


def test_order_placed_says_what_the_contract_says_and_which_order_it_was() -> None:
    order = Order(ID, "ann", Status.PENDING, datetime.now(UTC), [{"productNumber": "001", "quantity": 2}], 0, {})
    assert order.placed() == {
        "orderId": str(ID),
        "customerId": "ann",
        "orderLines": [{"productNumber": "001", "quantity": 2}],
    }


def test_an_order_has_a_stream_of_its_own() -> None:
    assert stream(ID) == f"order/{ID}"
