"""The cart: nothing but its events, replayed; and the read model, which must say the same."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webstore_chassis.events import Event
from webstore_chassis.schemas import MOST_LINES, MOST_OF_A_PRODUCT
from webstore_shopping_command.domain import Cart, CartFull, CartKey, NoSuchCart, NoSuchLine, NotEnoughInStock
from webstore_shopping_query import domain as read_model

KEY = CartKey("ann", "900")
PRODUCTS = st.sampled_from(["001", "002", "003"])
PLENTY = 10**9


def lines(cart: Cart) -> dict[str, int]:
    return {number: cart.quantity(number) for number in cart.entries}


def covers(erasure: read_model.Erasure, entry: read_model.Entry) -> bool:
    """The rule of what is erased, stated a second time: the service states it in SQL."""
    return (
        entry.stream == erasure.stream
        and entry.version <= erasure.version
        and erasure.product_number in (None, entry.product_number)
    )


def viewed(events: Sequence[Event]) -> dict[str, int]:
    """What the read model's rules make of a stretch of events."""
    effects = read_model.effects(events)
    seen: dict[str, int] = {}
    for entry in effects.entries:
        if not any(covers(erasure, entry) for erasure in effects.erasures):
            seen[entry.product_number] = seen.get(entry.product_number, 0) + entry.quantity
    return seen


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """A cart's life: commands, and checkouts of versions then current whose events arrive at any later time."""
    cart, events, on_their_way = Cart(KEY), list[Event](), list[int]()
    for step in draw(st.lists(st.sampled_from(["add", "update", "remove", "check out", "arrive"]), max_size=30)):
        number, quantity = draw(PRODUCTS), draw(st.integers(1, 9))
        try:
            if step == "add":
                event = cart.add(number, quantity, PLENTY)
            elif step == "update":
                event = cart.update(number, quantity, PLENTY)
            elif step == "remove":
                event = cart.remove(number)
            elif step == "check out":
                if cart.version:
                    on_their_way.append(cart.version)
                continue
            elif on_their_way:
                bought = on_their_way.pop(draw(st.integers(0, len(on_their_way) - 1)))
                event = cart.check_out(f"order of {bought}", bought)
            else:
                continue
        except (NoSuchCart, NoSuchLine):
            continue
        events.append(event)
        cart.replay([event])
    return events


@given(histories())
def test_the_read_model_says_what_the_cart_says(events: list[Event]) -> None:
    assert viewed(events) == lines(Cart(KEY).replay(events))


@given(histories(), st.data())
def test_a_snapshot_and_what_follows_it_are_the_whole_stream(events: list[Event], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(events)))
    before = Cart(KEY).replay(events[:cut])
    resumed = Cart.from_state(KEY, before.version, before.state()).replay(events[cut:])
    assert resumed == Cart(KEY).replay(events)


@given(histories(), st.data())
def test_the_read_model_may_take_a_stream_in_stretches_of_any_length(events: list[Event], data: st.DataObject) -> None:
    entries: list[read_model.Entry] = []
    rest = list(events)
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        effects = read_model.effects(rest[:cut])
        rest = rest[cut:]
        entries = [e for e in entries + effects.entries if not any(covers(x, e) for x in effects.erasures)]
    seen: dict[str, int] = {}
    for entry in entries:
        seen[entry.product_number] = seen.get(entry.product_number, 0) + entry.quantity
    assert seen == viewed(events)


@given(histories())
def test_a_line_changed_after_the_version_checked_out_stays(events: list[Event]) -> None:
    cart = Cart(KEY).replay(events)
    bought = cart.version
    later = cart.add("001", 7, PLENTY)
    cart.replay([later])
    cart.replay([cart.check_out("order", bought)])
    assert lines(cart) == {"001": 7}


@given(histories())
def test_a_checkout_recorded_again_changes_nothing(events: list[Event]) -> None:
    cart = Cart(KEY).replay(events)
    for event in (event for event in events if event.type == "cart-checked-out"):
        before = lines(cart)
        cart.replay([cart.check_out(event.data["orderId"], event.data["cartVersion"])])
        assert lines(cart) == before


def test_a_cart_never_holds_more_than_there_is() -> None:
    cart = Cart(KEY).replay([Cart(KEY).add("001", 7, 10)])
    with pytest.raises(NotEnoughInStock):
        cart.add("001", 4, 10)
    with pytest.raises(NotEnoughInStock):
        cart.update("001", 11, 10)
    assert cart.update("001", 10, 10).data["quantity"] == 10


def test_a_cart_never_holds_more_than_an_order_takes() -> None:
    cart = Cart(KEY).replay([Cart(KEY).add("001", MOST_OF_A_PRODUCT, PLENTY)])
    with pytest.raises(CartFull):
        cart.add("001", 1, PLENTY)
    for number in range(1, MOST_LINES):
        cart.replay([cart.add(f"x{number}", 1, PLENTY)])
    with pytest.raises(CartFull):
        cart.add("one more", 1, PLENTY)
    assert cart.add("x1", 1, PLENTY).data["quantity"] == 1


def test_only_what_is_there_can_be_changed() -> None:
    with pytest.raises(NoSuchCart):
        Cart(KEY).remove("001")
    cart = Cart(KEY).replay([Cart(KEY).add("001", 1, 1)])
    with pytest.raises(NoSuchLine):
        cart.update("002", 1, 1)


def test_two_customers_carts_of_one_number_are_two_carts() -> None:
    assert CartKey("ann", "900").stream != CartKey("bob", "900").stream
    assert CartKey("a/b", "c").stream != CartKey("a", "b.c").stream


@pytest.mark.parametrize(
    ("given_versions", "known", "taken", "gap"),
    [
        ([1, 2, 3], 0, [1, 2, 3], False),
        ([3, 1, 2], 0, [1, 2, 3], False),
        ([1, 2, 2, 3], 1, [2, 3], False),
        ([2, 4], 1, [2], True),
        ([5], 1, [], True),
        ([1], 5, [], False),
    ],
)
def test_events_are_taken_in_order_once_and_up_to_a_gap(
    given_versions: Sequence[int], known: int, taken: Sequence[int], gap: bool
) -> None:
    events = [Event("cart/ann/900", version, "product-added", {}) for version in given_versions]
    new, gaps = read_model.following(events, {"cart/ann/900": known})
    assert [event.version for event in new] == taken
    assert gaps == ({"cart/ann/900"} if gap else set())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=20), st.integers(0, 3))
def test_a_gap_in_one_stream_holds_up_no_other(pairs: list[tuple[str, int]], known: int) -> None:
    events = [Event(stream, version, "product-added", {}) for stream, version in pairs]
    versions: Mapping[str, int] = dict.fromkeys("abc", known)
    together, gaps = read_model.following(events, versions)
    for stream in "abc":
        alone, own_gap = read_model.following([event for event in events if event.stream == stream], versions)
        assert [event for event in together if event.stream == stream] == alone
        assert (stream in gaps) == bool(own_gap)
