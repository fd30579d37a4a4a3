"""What must be true of a store after anything, and how it is counted."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import httpx
from psycopg.rows import TupleRow

from tests.faults.chaos import Break, Chaos
from tests.faults.shoppers import PRODUCTS, SCARCE, SHOPPERS, Shopper

CHECKOUTS = int(os.environ.get("WEBSTORE_FAULTS_CHECKOUTS", "40"))
SEED = int(os.environ.get("WEBSTORE_FAULTS_SEED", random.randrange(1_000_000)))
OUTAGE_SECONDS = float(os.environ.get("WEBSTORE_FAULTS_OUTAGE_SECONDS", "5"))
# What a crash leaves behind is to be swept within the test.
SWEEPS = {"SWEEP_SECONDS": "1", "SWEEP_AGE_SECONDS": "5"}
# A mail that was being sent when the service was killed is tried again after half a minute.
_SETTLE_SECONDS = 150
_MUCH, _FEW = 1_000_000, CHECKOUTS


class World(Protocol):
    """A store that can be looked into."""

    url: str

    def rows(self, service: str, query: str) -> list[TupleRow]:
        """What a service's database answers to a query."""

    def mails(self) -> list[str]:
        """The Message-ID of each mail that was accepted."""

    def rebuild(self) -> str:
        """Makes the read model anew; returns what that says."""


def shop_while_breaking(world: World, victims: Mapping[str, tuple[Break, Break]]) -> None:
    """Has eight customers shop while the victims are killed at random moments, and checks everything after it."""
    print(f"\nWEBSTORE_FAULTS_SEED={SEED} WEBSTORE_FAULTS_CHECKOUTS={CHECKOUTS}")
    for number in PRODUCTS:
        stock = {"quantity": _FEW if number == SCARCE else _MUCH}
        body = {"productNumber": number, "name": number, "price": 1, "stock": stock}
        httpx.post(f"{world.url}/product", json=body, trust_env=False).raise_for_status()
    chaos = Chaos(SEED, victims)
    each = -(-CHECKOUTS // SHOPPERS)

    def go_on(done: int) -> bool:
        return done < each or not chaos.everything_was_hit

    shoppers = [Shopper(world.url, SEED + number, go_on) for number in range(SHOPPERS)]
    started = time.monotonic()
    for thread in (*shoppers, chaos):
        thread.start()
    for shopper in shoppers:
        shopper.join()
    chaos.end()
    print(
        f"{sum(s.checkouts for s in shoppers)} checkouts, {sum(len(s.placed) for s in shoppers)} orders placed in "
        f"{time.monotonic() - started:.0f} s; killed {dict(chaos.killed)}"
    )
    for error in filter(None, (thread.error for thread in (*shoppers, chaos))):
        raise error
    check(world, shoppers, kills=chaos.killed.total())


def check(world: World, shoppers: list[Shopper], kills: int) -> None:
    """Counts everything.

    Args:
        kills: a mail may have come twice for each, at the most.
    """
    placed = set[str]().union(*(s.placed for s in shoppers))
    made = set[str]().union(*(s.orders for s in shoppers))
    sold = sum((s.bought for s in shoppers), Counter())

    orders = world.rows("order", "SELECT id::text, status FROM customer_order")
    assert Counter(dict(orders)) == {o: "PLACED" if o in placed else "PENDING" for o in made}, "each order, once"
    recorded = world.rows("order", "SELECT data->>'orderId' FROM journal WHERE type = 'order-placed'")
    assert Counter(order for (order,) in recorded) == Counter(placed), "an event for each order placed, and no other"

    unsettled = "SELECT order_id::text FROM reservation WHERE NOT settled"
    eventually("each reservation is settled or released", lambda: not world.rows("product", unsettled))
    reserved = {order for (order,) in world.rows("product", "SELECT order_id::text FROM reservation")}
    assert reserved == placed, "what was placed is reserved, and nothing else"
    for number in PRODUCTS:
        left = httpx.get(f"{world.url}/product/{number}", trust_env=False, timeout=30).json()
        assert left + sold[number] == (_FEW if number == SCARCE else _MUCH), f"stock of {number}: sold + left = start"

    eventually("a mail for each order placed", lambda: placed <= set(map(_order, world.mails())))
    waiting = "SELECT order_id FROM mail WHERE state <> 'sent'"
    eventually("no mail waits", lambda: not world.rows("customer", waiting))
    mails = Counter(map(_order, world.mails()))
    assert set(mails) == placed, "no mail about anything else"
    assert mails.total() - len(placed) <= kills, f"mails that came twice: {mails.total() - len(placed)}"

    bought = "SELECT data->>'orderId' FROM journal WHERE type = 'cart-checked-out'"
    eventually(
        "each checkout is in its cart's stream, once",
        lambda: Counter(order for (order,) in world.rows("shopping-command", bought)) == Counter(made),
    )
    entries = "SELECT count(*) FROM read_model.cart_entry"
    eventually("the carts are empty", lambda: world.rows("shopping-query", entries) == [(0,)])
    assert "It equals the one that it replaced" in world.rebuild(), "read model = rebuilt read model"


def eventually(what: str, found: Callable[[], bool], seconds: float = _SETTLE_SECONDS) -> None:
    """Waits for what follows by events, or by a sweep."""
    ends = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < ends, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def _order(message_id: str) -> str:
    return message_id.strip("<>").partition("@")[0].removeprefix("order-")
