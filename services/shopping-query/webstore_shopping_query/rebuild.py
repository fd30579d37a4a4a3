"""The rebuild: the read model made anew from shopping-command's journal beside the live one, compared, and swapped in.

Requests go on being served meanwhile. Only the comparison and the swap hold up whoever changes a cart's view, and the
swap is the renaming of a schema.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from webstore_chassis.client import Downstream
from webstore_chassis.database import Database, unlimited
from webstore_chassis.events import Event
from webstore_chassis.main import CommandError
from webstore_chassis.problems import Unavailable
from webstore_shopping_query.command import ShoppingCommand
from webstore_shopping_query.store import LIVE, READ_MODEL_1, ReadModel

log = logging.getLogger(__name__)

_NEXT = "read_model_next"
_PAGE = 5000
# One rebuild at a time; the lock ends with its session.
_LOCK = 0x4EB111D

_LAGGING = text(f"""
SELECT stream, coalesce(live.customer_id, next.customer_id) AS customer_id,
       coalesce(live.cart_number, next.cart_number) AS cart_number,
       least(coalesce(live.version, 0), coalesce(next.version, 0)) AS version
FROM {LIVE}.cart AS live FULL JOIN {_NEXT}.cart AS next USING (stream)
WHERE live.version IS DISTINCT FROM next.version ORDER BY stream
""")
_BOUGHT = text("SELECT stream, max(cart_version) AS version FROM checkout WHERE order_id IS NOT NULL GROUP BY stream")
_DIFFERENT = text(f"""
WITH live AS (SELECT cart.*, cart_entry.version AS entry, product_number, quantity
              FROM {LIVE}.cart LEFT JOIN {LIVE}.cart_entry USING (stream)),
     next AS (SELECT cart.*, cart_entry.version AS entry, product_number, quantity
              FROM {_NEXT}.cart LEFT JOIN {_NEXT}.cart_entry USING (stream))
SELECT DISTINCT stream FROM (
    (TABLE live EXCEPT TABLE next) UNION ALL (TABLE next EXCEPT TABLE live)
) AS difference ORDER BY stream
""")


class RebuildError(CommandError):
    """The rebuild cannot begin or go on; the live read model is as it was."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a rebuild did.

    Args:
        events: how many it replayed.
        seconds: how long that took, the swap included.
        different: streams of the carts that the live read model had otherwise.
    """

    events: int
    seconds: float
    different: list[str]


class Rebuild:
    """Makes the read model anew.

    Args:
        command: fetches single carts' events, for the last stretch.
        downstream: shopping-command, for its whole journal.
        report: is told how far it is, a line at a time.
    """

    def __init__(
        self, database: Database, command: ShoppingCommand, downstream: Downstream, report: Callable[[str], None]
    ) -> None:
        self._database = database
        self._command = command
        self._downstream = downstream
        self._report = report
        self._live = ReadModel(LIVE)
        self._next = ReadModel(_NEXT)

    async def run(self) -> Result:
        """Rebuilds, compares and swaps.

        Raises:
            RebuildError: another rebuild is under way.
            Unavailable: shopping-command cannot be reached.
        """
        started = time.monotonic()
        async with await self._database.connect_raw() as session:
            cursor = await session.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
            if await cursor.fetchone() != (True,):
                raise RebuildError("Another rebuild is under way. Wait for its end.")
            await self._begin()
            events = await self._replay()
            self._report("comparing")
            different = await self._swap()
            # The end of the session would do it, too, but only when the server comes to notice that.
            await session.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
        return Result(events, time.monotonic() - started, different)

    async def _begin(self) -> None:
        async with self._database.engine.begin() as connection:
            await unlimited(connection)
            await connection.execute(text(f"DROP SCHEMA IF EXISTS {_NEXT} CASCADE"))
            for statement in READ_MODEL_1.format(schema=_NEXT).split(";"):
                if statement.strip():
                    await connection.execute(text(statement))

    async def _replay(self) -> int:
        cursor, done, total, told = "0-0", 0, 0, time.monotonic()
        while True:
            answer = await self._downstream.request("GET", f"/internal/journal?after={cursor}&limit={_PAGE}")
            if answer.status_code != 200:
                raise Unavailable(f"shopping-command answered {answer.status_code} when asked for its journal.")
            page = answer.json()
            total = total if page["total"] is None else page["total"]
            if not page["events"]:
                # What transactions in flight hold back now, the last stretch below fetches cart by cart.
                return done
            events = [Event(e["stream"], e["version"], e["type"], e["data"]) for e in page["events"]]
            async with self._database.engine.begin() as connection:
                await self._next.apply(connection, events)
            cursor, done = page["cursor"], done + len(events)
            if time.monotonic() - told >= 1:
                told = time.monotonic()
                self._report(f"{done:,} of {max(total, done):,} events")

    async def _swap(self) -> list[str]:
        async with self._database.autocommit.connect() as connection:
            lagging = (await connection.execute(_LAGGING)).all()
        for cart in lagging:  # most of it, one cart after the other, while everybody else goes on
            async with self._database.engine.begin() as connection:
                await self._level(connection, cart)
        async with self._database.engine.begin() as connection:
            await unlimited(connection)
            await connection.execute(text(f"LOCK TABLE {LIVE}.cart, {LIVE}.cart_entry IN EXCLUSIVE MODE"))
            for cart in (await connection.execute(_LAGGING)).all():
                await self._level(connection, cart)
            bought = [(row.stream, row.version) for row in await connection.execute(_BOUGHT)]
            await self._next.erase_bought(connection, bought)
            different = list((await connection.execute(_DIFFERENT)).scalars())
            await connection.execute(text(f"ALTER SCHEMA {LIVE} RENAME TO {LIVE}_old"))
            await connection.execute(text(f"ALTER SCHEMA {_NEXT} RENAME TO {LIVE}"))
            await connection.execute(text(f"DROP SCHEMA {LIVE}_old CASCADE"))
        return different

    async def _level(self, connection: AsyncConnection, cart: Row[Any]) -> None:
        """Brings both read models to the same version of a cart."""
        version = cart.version
        while events := await self._command.events_after(cart.customer_id, cart.cart_number, version):
            await self._live.apply(connection, events)
            await self._next.apply(connection, events)
            version = events[-1].version
