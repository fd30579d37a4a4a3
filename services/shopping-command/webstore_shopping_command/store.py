"""Carts in the journal, with snapshots so that a long stream is not replayed from its beginning."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Row, text

from webstore_chassis.coalesce import Coalescer
from webstore_chassis.consumer import forget_old, handling, unseen
from webstore_chassis.database import FAILURES, Database
from webstore_chassis.events import Event
from webstore_chassis.journal import Journal, VersionConflict, in_context
from webstore_shopping_command.domain import Cart, CartKey

log = logging.getLogger(__name__)

SNAPSHOT_EVERY = 100
_ATTEMPTS = 20

# The newest snapshots and what follows them, in one round trip. OFFSET 0 keeps the planner to the indexes, see
# tests/service/test_plans.py.
_LOAD = text("""
WITH newest AS (
    SELECT asked.stream, kept.version, kept.state FROM unnest(CAST(:streams AS text[])) AS asked (stream)
    LEFT JOIN LATERAL (
        SELECT version, state FROM snapshot WHERE snapshot.stream = asked.stream OFFSET 0
    ) AS kept ON true
)
SELECT stream, version, NULL AS type, state AS data FROM newest WHERE version IS NOT NULL
UNION ALL
SELECT event.* FROM newest CROSS JOIN LATERAL (
    SELECT stream, version, type, data FROM journal
    WHERE journal.stream = newest.stream AND journal.version > coalesce(newest.version, 0) OFFSET 0
) AS event
ORDER BY stream, version
""")
_KEEP_SNAPSHOT = text("""
INSERT INTO snapshot (stream, version, state) VALUES (:stream, :version, CAST(:state AS jsonb))
ON CONFLICT (stream) DO UPDATE SET version = excluded.version, state = excluded.state
WHERE snapshot.version < excluded.version
""")


class Store:
    """Loads carts, and appends what was decided on them."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal
        # One customer's commands on one cart wait here, rather than lose to each other at the journal again and again.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._load = Coalescer(self._load_all)

    async def load(self, key: CartKey) -> Cart:
        """A cart as it is now; version 0 if it has no events."""
        return await self._load(key)

    async def change(self, key: CartKey, decide: Callable[[Cart], Event]) -> None:
        """Loads, decides and appends; once more where somebody else was faster, as one customer's commands commute.

        Raises:
            VersionConflict: somebody else was faster every time.
            Exception: what `decide` raises; nothing is appended then.
        """
        async with self._turns.setdefault(key.stream, asyncio.Lock()):
            for attempt in range(1, _ATTEMPTS + 1):
                cart = await self.load(key)
                event = decide(cart)
                try:
                    await self._journal.append(event)
                except VersionConflict:  # of another replica, or of a checkout
                    if attempt == _ATTEMPTS:
                        raise
                else:
                    return await self._keep_snapshot(cart.replay([event]))
        return None

    async def record_checkouts(self, checkouts: Sequence[Event]) -> None:
        """Appends each of these `cart-checkout` to its cart's stream: once, however often it comes.

        The carts are loaded before the transaction begins, as the order of the journal demands (see
        `webstore_chassis.journal`).
        """
        keys = list({_cart_of(checkout) for checkout in checkouts})
        while True:
            carts = dict(zip(keys, await self._load_all(keys), strict=True))
            try:
                async with self._database.engine.begin() as connection:
                    fresh = await unseen(connection, checkouts)
                    events = [_checked_out(carts[_cart_of(checkout)], checkout) for checkout in fresh]
                    await self._journal.append_within(connection, events)
            except VersionConflict:
                continue
            return self._journal.notify()

    async def forget_old(self) -> None:
        """Removes from the inbox what can no longer come again."""
        async with self._database.autocommit.connect() as connection:
            await forget_old(connection)

    async def _load_all(self, keys: Sequence[CartKey]) -> list[Cart]:
        """The carts, each caller's its own: they are changed by what is decided on them."""
        rows: dict[str, list[Row[Any]]] = {key.stream: [] for key in keys}
        async with self._database.autocommit.connect() as connection:
            for row in await connection.execute(_LOAD, {"streams": list(rows)}):
                rows[row.stream].append(row)
        return [_cart(key, rows[key.stream]) for key in keys]

    async def _keep_snapshot(self, cart: Cart) -> None:
        if cart.version % SNAPSHOT_EVERY != 0:
            return
        parameters = {"stream": cart.key.stream, "version": cart.version, "state": json.dumps(cart.state())}
        try:
            async with self._database.autocommit.connect() as connection:
                await connection.execute(_KEEP_SNAPSHOT, parameters)
        except FAILURES as error:
            # The command is done, and must not be answered as if it were not; the next snapshot makes up for this one.
            log.warning("no snapshot of a cart at version %d: %s", cart.version, error)


def _cart(key: CartKey, rows: Sequence[Row[Any]]) -> Cart:
    cart = Cart(key)
    if rows and rows[0].type is None:
        cart, rows = Cart.from_state(key, rows[0].version, rows[0].data), rows[1:]
    return cart.replay(Event(key.stream, row.version, row.type, row.data) for row in rows)


def _cart_of(checkout: Event) -> CartKey:
    return CartKey(checkout.data["customerId"], checkout.data["cartNumber"])


def _checked_out(cart: Cart, checkout: Event) -> Event:
    with handling(checkout):
        event = in_context(cart.check_out(str(checkout.data["orderId"]), int(checkout.data["cartVersion"])))
    cart.replay([event])
    return event
