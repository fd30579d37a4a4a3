"""What a product is, and when an order can have what it asks for. Pure rules, no I/O."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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


def serve(orders: Iterable[Mapping[str, int]], stock: dict[str, int]) -> list[list[Shortage]]:
    """Takes what orders want out of the stock, one order after the other, and of each all lines or none.

    Args:
        stock: what there is of each product number, and at the end what is left; a number without an entry is not
            sold.

    Returns:
        For each order what it is short of; nothing if it was served.
    """
    refusals = []
    for wanted_by_one in orders:
        short = [
            Shortage(number, quantity, stock.get(number, 0))
            for number, quantity in sorted(wanted_by_one.items())
            if stock.get(number, 0) < quantity
        ]
        if not short:
            for number, quantity in wanted_by_one.items():
                stock[number] -= quantity
        refusals.append(short)
    return refusals
