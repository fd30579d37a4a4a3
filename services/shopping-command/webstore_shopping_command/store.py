"""Carts in the journal, with snapshots so that a long stream is not replayed from its beginning."""

import asyncio
import json
import logging
from collections.abc import Callable
from weakref import WeakValueDictionary

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from webstore_chassis.consumer import forget_old, unseen
from webstore_chassis.database import Database
from webstore_chassis.events import Event
from webstore_chassis.journal import Journal, VersionConflict
from webstore_shopping_command.domain import Cart, CartKey

log = logging.getLogger(__name__)

SNAPSHOT_EVERY = 100
_ATTEMPTS = 20

# The newest snapshot and what follows it, in one round trip.
_LOAD = text("""
WITH newest AS (SELECT version, state FROM snapshot WHERE stream = :stream)
SELECT version, NULL AS type, state AS data FROM newest
UNION ALL
SELECT version, type, data FROM journal
WHERE stream = :stream AND version > coalesce((SELECT version FROM newest), 0)
ORDER BY version
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

    async def load(self, key: CartKey) -> Cart:
        """A cart as it is now; version 0 if it has no events."""
        async with self._database.autocommit.connect() as connection:
            rows = (await connection.execute(_LOAD, {"stream": key.stream})).all()
        cart = Cart(key)
        if rows and rows[0].type is None:
            cart = Cart.from_state(key, rows[0].version, rows[0].data)
            rows = rows[1:]
        return cart.replay(Event(key.stream, row.version, row.type, row.data) for row in rows)

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

    async def record_checkout(self, key: CartKey, cause: Event, decide: Callable[[Cart], Event]) -> None:
        """Appends what `cause` has us record: once, however often that event comes.

        The cart is loaded before the transaction begins, as the order of the journal demands (see
        `webstore_chassis.journal`).
        """
        while True:
            cart = await self.load(key)
            try:
                async with self._database.engine.begin() as connection:
                    if not await unseen(connection, [cause]):
                        return None
                    await self._journal.append_within(connection, [decide(cart)])
            except VersionConflict:
                continue
            return self._journal.notify()

    async def forget_old(self) -> None:
        """Removes from the inbox what can no longer come again."""
        async with self._database.autocommit.connect() as connection:
            await forget_old(connection)

    async def _keep_snapshot(self, cart: Cart) -> None:
        if cart.version % SNAPSHOT_EVERY != 0:
            return
        parameters = {"stream": cart.key.stream, "version": cart.version, "state": json.dumps(cart.state())}
        try:
            async with self._database.autocommit.connect() as connection:
                await connection.execute(_KEEP_SNAPSHOT, parameters)
        except (DBAPIError, PoolTimeout) as error:
            # The command is done, and must not be answered as if it were not; the next snapshot makes up for this one.
            log.warning("no snapshot of a cart at version %d: %s", cart.version, error)
