"""The journal: one append-only table that is a service's event store and its outbox.

A change and its event are one transaction, so an event exists if and only if its change does. Readers of the whole
journal (the relay, a rebuild) go by (xid, position), and only below the oldest transaction still in flight:

- `position` alone is handed out before the commit, so a later one can be seen first, and a reader that has gone past
  would never see the earlier;
- `position` above the last one, restricted to finished transactions, still loses events: a transaction that began
  early may take a *late* position, commit and be read, and a younger one with an *earlier* position commits afterwards.

In the order of (xid, position), nothing new appears below `pg_snapshot_xmin`, because every transaction there has
ended. A stream's events keep their order as long as who appends version n+1 saw version n before its own transaction
got its xid; `append` does so by being that transaction's first statement, or by a row lock taken before.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from webstore_chassis import context, telemetry
from webstore_chassis.coalesce import Coalescer
from webstore_chassis.database import Database
from webstore_chassis.events import Cursor, Event

# For the services' migrations. The schema of a journal changes by a new constant beside this one.
SCHEMA_1 = """
CREATE TABLE journal (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL,
    stream text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    type text NOT NULL,
    data jsonb NOT NULL,
    metadata jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (stream, version)
);
CREATE INDEX journal_order ON journal (xid, position);
CREATE TABLE relay (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    xid xid8 NOT NULL DEFAULT '0',
    position bigint NOT NULL DEFAULT 0
);
INSERT INTO relay DEFAULT VALUES;
"""

# The xid is taken below the INSERT, that is before the identity hands out a position: a transaction must be known as
# being in flight before it owns a place that a reader could go past.
_APPEND = text("""
WITH own AS MATERIALIZED (SELECT pg_current_xact_id() AS xid)
INSERT INTO journal (xid, stream, version, type, data, metadata)
SELECT own.xid, e.stream, e.version, e.type, e.data::jsonb, e.metadata::jsonb
FROM own, unnest(
    CAST(:streams AS text[]), CAST(:versions AS integer[]), CAST(:types AS text[]),
    CAST(:data AS text[]), CAST(:metadata AS text[])
) AS e (stream, version, type, data, metadata)
ON CONFLICT (stream, version) DO NOTHING
RETURNING stream, version
""")
_READ_STREAMS = text("""
SELECT asked.number, event.* FROM unnest(CAST(:streams AS text[]), CAST(:after AS integer[]))
    WITH ORDINALITY AS asked (stream, after, number)
CROSS JOIN LATERAL (
    SELECT stream, version, type, data, metadata, recorded_at FROM journal
    WHERE journal.stream = asked.stream AND journal.version > asked.after ORDER BY version LIMIT :limit
) AS event ORDER BY asked.number, event.version
""")
_READ_ALL = text("""
SELECT xid::text AS xid, position, stream, version, type, data, metadata, recorded_at,
       xid < pg_snapshot_xmin(pg_current_snapshot()) AS settled
FROM journal WHERE (xid, position) > (CAST(CAST(:xid AS text) AS xid8), :position)
ORDER BY journal.xid, position LIMIT :limit
""")
MOST_OF_A_STREAM = 1000
_COUNT = text("SELECT count(*) FROM journal")
_BACKLOG = text(
    "SELECT count(*) FROM journal, relay WHERE (journal.xid, journal.position) > (relay.xid, relay.position)"
)


class VersionConflict(Exception):
    """The stream has moved on since the version that the append was decided on: load, decide and append again."""


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a journal, in its order.

    Args:
        events: settled events.
        cursor: where the next page begins.
        unsettled: whether there is more that waits for transactions in flight.
    """

    events: Sequence[Event]
    cursor: Cursor
    unsettled: bool


class Journal:
    """The journal in one service's database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._append_one = Coalescer(self._append_each)
        self._read_stream = Coalescer(self._read_streams)
        # Set when this process has appended: the relay's cue.
        self.appended = asyncio.Event()

    async def append(self, event: Event) -> None:
        """Appends one event in a transaction of its own, together with what others append at the same moment.

        Raises:
            VersionConflict: the stream has this version already.
        """
        if not await self._append_one(in_context(event)):
            raise VersionConflict(event.id)

    async def _append_each(self, events: Sequence[Event]) -> list[bool]:
        # Two events for one place in one batch: the first in line gets it, as it would without batches.
        first: dict[str, Event] = {}
        for event in events:
            first.setdefault(event.id, event)
        async with self._database.autocommit.connect() as connection:
            done = await _insert(connection, list(first.values()))
        self.appended.set()
        return [event.id in done and first[event.id] is event for event in events]

    async def append_within(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        """Appends as a part of the caller's transaction; call `notify` once that is committed.

        Args:
            events: see `in_context`.

        Raises:
            VersionConflict: a stream has that version already; the transaction is to be rolled back.
        """
        if len(await _insert(connection, events)) != len(events):
            raise VersionConflict(", ".join(event.id for event in events))

    def notify(self) -> None:
        """Tells the relay that something was committed. Forgetting it costs time only: the relay looks by itself
        too.
        """
        self.appended.set()

    async def stream(self, stream: str, after: int) -> list[Event]:
        """A stream's events above a version, in order, `MOST_OF_A_STREAM` at the most."""
        return await self._read_stream((stream, after))

    async def read(self, after: Cursor, limit: int) -> Page:
        """The settled events after a place, `limit` at the most."""
        async with self._database.autocommit.connect() as connection:
            parameters = {"xid": str(after.xid), "position": after.position, "limit": limit}
            rows = (await connection.execute(_READ_ALL, parameters)).all()
        settled = [row for row in rows if row.settled]
        cursor = Cursor(int(settled[-1].xid), settled[-1].position) if settled else after
        return Page([_event(row) for row in settled], cursor, len(settled) < len(rows))

    async def count(self) -> int:
        """How many events there are."""
        async with self._database.autocommit.connect() as connection:
            return int((await connection.execute(_COUNT)).scalar_one())

    async def backlog(self) -> int:
        """How many events the relay has not passed yet."""
        async with self._database.autocommit.connect() as connection:
            return int((await connection.execute(_BACKLOG)).scalar_one())

    async def _read_streams(self, asked: Sequence[tuple[str, int]]) -> list[list[Event]]:
        parameters = {
            "streams": [stream for stream, _ in asked],
            "after": [after for _, after in asked],
            "limit": MOST_OF_A_STREAM,
        }
        found: list[list[Event]] = [[] for _ in asked]
        async with self._database.autocommit.connect() as connection:
            for row in await connection.execute(_READ_STREAMS, parameters):
                found[row.number - 1].append(_event(row))
        return found


async def _insert(connection: AsyncConnection, events: Sequence[Event]) -> set[str]:
    # In one order for every replica: who waits for the other's place in a stream must hold none that the other waits
    # for.
    events = sorted(events, key=lambda event: (event.stream, event.version))
    parameters = {
        "streams": [event.stream for event in events],
        "versions": [event.version for event in events],
        "types": [event.type for event in events],
        "data": [json.dumps(event.data) for event in events],
        "metadata": [json.dumps(event.metadata) for event in events],
    }
    return {f"{row.stream}@{row.version}" for row in await connection.execute(_APPEND, parameters)}


def in_context(event: Event) -> Event:
    """The event with what caused it: the request or event at hand, its actor, its trace."""
    cause: Mapping[str, str | None] = {
        "causation_id": context.request_id.get(),
        "actor": context.actor.get(),
        **telemetry.inject(),
        **event.metadata,
    }
    metadata = {name: value for name, value in cause.items() if value}
    return Event(event.stream, event.version, event.type, event.data, metadata)


def _event(row: Row[Any]) -> Event:
    return Event(row.stream, row.version, row.type, row.data, row.metadata, row.recorded_at)
