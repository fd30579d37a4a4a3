"""What a product is, and when an order can have what it asks for. Pure rules, no I/O."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shortage:
    """A product of which there is less than was asked for."""

    product_number: str
    wanted: int
    in_stock: int


class OutOfStock(Exception):
    """Some lines of an order cannot be had; then none is reserved."""

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        super().__init__(
            "Not enough in stock: "
            + ", ".join(f"{s.wanted} of {s.product_number} wanted, {s.in_stock} there" for s in shortages)
        )
        self.shortages = shortages


def wanted(lines: Sequence[tuple[str, int]]) -> dict[str, int]:
    """How much of each product the lines (product number, quantity) ask for together."""
    total: Counter[str] = Counter()
    for product_number, quantity in lines:
        total[product_number] += quantity
    return dict(total)


def check_stock(wanted: Mapping[str, int], stock: Mapping[str, int]) -> None:
    """All lines or none.

    Args:
        stock: what there is of each product number; a number without an entry is not sold.

    Raises:
        OutOfStock: some are not there in the quantity that is wanted.
    """
    short = [
        Shortage(number, quantity, stock.get(number, 0))
        for number, quantity in sorted(wanted.items())
        if stock.get(number, 0) < quantity
    ]
    if short:
        raise OutOfStock(short)
