"""The cart: an aggregate that is nothing but its events, replayed. Pure rules, no I/O.

A line is made of entries, one for each event that put something in, kept under that event's version. A checkout buys
the cart as of a version, and its event comes later: it erases the entries up to that version and leaves what was put
in meanwhile. Every erasing is "up to a version", so replaying gives the same cart whenever the checkout's event
arrives.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from webstore_chassis.events import Event
from webstore_chassis.schemas import MOST_LINES, MOST_OF_A_PRODUCT


class NoSuchCart(Exception):
    """The customer never put anything into a cart with this number."""


class NoSuchLine(Exception):
    """The product is not in the cart."""


class NotEnoughInStock(Exception):
    """The cart would hold more of a product than there is."""


class CartFull(Exception):
    """The cart would hold more than an order can have."""


@dataclass(frozen=True, slots=True)
class CartKey:
    """Which cart: numbers are each customer's own, so two customers' carts 900 are two carts."""

    customer_id: str
    cart_number: str

    @property
    def stream(self) -> str:
        """The name of the cart's stream in the journal."""
        return f"cart/{self.customer_id}/{self.cart_number}"


@dataclass(slots=True)
class Cart:
    """A cart at a version.

    Args:
        entries: product number → version of the event that put it in → quantity.
    """

    key: CartKey
    version: int = 0
    entries: dict[str, dict[int, int]] = field(default_factory=dict)

    def replay(self, events: Iterable[Event]) -> "Cart":
        """Applies the events that follow this version, in order."""
        for event in events:
            self._apply(event)
        return self

    def quantity(self, product_number: str) -> int:
        """How much of a product is in the cart."""
        return sum(self.entries.get(product_number, {}).values())

    def add(self, product_number: str, quantity: int, in_stock: int) -> Event:
        """Decides on putting more of a product in.

        Raises:
            NotEnoughInStock: with what the cart has already it would be more than there is.
            CartFull: with what the cart has already it would be more than an order can have.
        """
        wanted = self.quantity(product_number) + quantity
        self._check_stock(product_number, wanted, in_stock)
        if wanted > MOST_OF_A_PRODUCT or len(self.entries.keys() | {product_number}) > MOST_LINES:
            raise CartFull(f"A cart holds at most {MOST_LINES:,} products, and {MOST_OF_A_PRODUCT:,} of each.")
        return self._event("product-added", productNumber=product_number, quantity=quantity)

    def update(self, product_number: str, quantity: int, in_stock: int) -> Event:
        """Decides on a line's new quantity.

        Raises:
            NoSuchCart, NoSuchLine: there is nothing to update.
            NotEnoughInStock: it would be more than there is.
        """
        self._require(product_number)
        self._check_stock(product_number, quantity, in_stock)
        return self._event("product-updated", productNumber=product_number, quantity=quantity)

    def remove(self, product_number: str) -> Event:
        """Decides on taking a line out.

        Raises:
            NoSuchCart, NoSuchLine: there is nothing to take out.
        """
        self._require(product_number)
        return self._event("product-removed", productNumber=product_number)

    def check_out(self, order_id: str, cart_version: int) -> Event:
        """Records that an order was made of the cart as of a version."""
        return self._event("cart-checked-out", orderId=order_id, cartVersion=cart_version)

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps."""
        return {"entries": {number: {str(v): q for v, q in line.items()} for number, line in self.entries.items()}}

    @classmethod
    def from_state(cls, key: CartKey, version: int, state: Mapping[str, Any]) -> "Cart":
        """The reverse of `state`."""
        entries = {number: {int(v): q for v, q in line.items()} for number, line in state["entries"].items()}
        return cls(key, version, entries)

    def _apply(self, event: Event) -> None:
        number = event.data.get("productNumber", "")
        match event.type:
            case "product-added":
                self.entries.setdefault(number, {})[event.version] = event.data["quantity"]
            case "product-updated":
                self.entries[number] = {event.version: event.data["quantity"]}
            case "product-removed":
                self.entries.pop(number, None)
            case "cart-checked-out":
                bought = event.data["cartVersion"]
                kept = {n: {v: q for v, q in line.items() if v > bought} for n, line in self.entries.items()}
                self.entries = {n: line for n, line in kept.items() if line}
            case unknown:
                raise ValueError(f"a cart has no event {unknown}")
        self.version = event.version

    def _require(self, product_number: str) -> None:
        if self.version == 0:
            raise NoSuchCart
        if product_number not in self.entries:
            raise NoSuchLine

    def _check_stock(self, product_number: str, wanted: int, in_stock: int) -> None:
        if wanted > in_stock:
            raise NotEnoughInStock(f"The cart would hold {wanted} of {product_number}; {in_stock} can still be had.")

    def _event(self, type_: str, **data: Any) -> Event:
        data = {"cartNumber": self.key.cart_number, "customerId": self.key.customer_id, **data}
        return Event(self.key.stream, self.version + 1, type_, data)
