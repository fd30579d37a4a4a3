"""Stock: all lines of an order, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webstore_product.domain import OutOfStock, Shortage, check_stock, wanted

NUMBERS = st.sampled_from(["001", "002", "003"])
LINES = st.lists(st.tuples(NUMBERS, st.integers(1, 1_000_000)), min_size=1, max_size=20)


@given(LINES)
def test_lines_of_one_product_are_wanted_together(lines: list[tuple[str, int]]) -> None:
    total = wanted(lines)
    assert sum(total.values()) == sum(quantity for _, quantity in lines)
    assert set(total) == {number for number, _ in lines}


@given(st.dictionaries(NUMBERS, st.integers(1, 9)), st.dictionaries(NUMBERS, st.integers(0, 9)))
def test_an_order_is_refused_exactly_if_a_line_would_take_the_stock_below_nothing(
    quantities: dict[str, int], stock: dict[str, int]
) -> None:
    fits = all(stock.get(number, 0) - quantity >= 0 for number, quantity in quantities.items())
    try:
        check_stock(quantities, stock)
    except OutOfStock as refused:
        assert not fits
        assert {s.product_number for s in refused.shortages} == {
            n for n, q in quantities.items() if stock.get(n, 0) < q
        }
    else:
        assert fits


def test_the_refusal_names_each_product_that_is_short() -> None:
    with pytest.raises(OutOfStock, match=r"2 of 001 wanted, 1 there, 1 of 009 wanted, 0 there") as refused:
        check_stock({"001": 2, "002": 1, "009": 1}, {"001": 1, "002": 1})
    assert refused.value.shortages == [Shortage("001", 2, 1), Shortage("009", 1, 0)]
