"""Stock: all lines of an order, or none."""

from hypothesis import given
from hypothesis import strategies as st

from webstore_product.domain import OutOfStock, Shortage, serve, wanted

NUMBERS = st.sampled_from(["001", "002", "003"])
LINES = st.lists(st.tuples(NUMBERS, st.integers(1, 1_000_000)), min_size=1, max_size=20)


@given(LINES)
def test_lines_of_one_product_are_wanted_together(lines: list[tuple[str, int]]) -> None:
    total = wanted(lines)
    assert sum(total.values()) == sum(quantity for _, quantity in lines)
    assert set(total) == {number for number, _ in lines}


ORDERS = st.lists(st.dictionaries(NUMBERS, st.integers(1, 9), min_size=1), max_size=10)


@given(ORDERS, st.dictionaries(NUMBERS, st.integers(0, 20)))
def test_an_order_is_refused_exactly_if_a_line_would_take_the_stock_below_nothing(
    orders: list[dict[str, int]], stock: dict[str, int]
) -> None:
    left = dict(stock)
    refusals = serve(orders, left)
    again = dict(stock)
    for order, short in zip(orders, refusals, strict=True):
        assert {s.product_number for s in short} == {n for n, q in order.items() if again.get(n, 0) < q}
        if not short:
            again = {n: q - order.get(n, 0) for n, q in again.items()}
    assert left == again
    assert all(quantity >= 0 for quantity in left.values())


def test_the_refusal_names_each_product_that_is_short() -> None:
    (short,) = serve([{"001": 2, "002": 1, "009": 1}], {"001": 1, "002": 1})
    assert short == [Shortage("001", 2, 1), Shortage("009", 1, 0)]
    assert "2 of 001 wanted, 1 there, 1 of 009 wanted, 0 there" in str(OutOfStock(short))
