"""The relay: publishes the journal in its order, one at a time a service, woken by an append, at least once."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from itertools import repeat

from opentelemetry.trace import Span, SpanKind
from psycopg import AsyncConnection
from sqlalchemy import text

from webstore_chassis import telemetry
from webstore_chassis.database import Database
from webstore_chassis.events import Cursor, Event
from webstore_chassis.journal import Journal
from webstore_chassis.metrics import BACKLOG, PUBLISHED
from webstore_chassis.transport import Message, Transport

log = logging.getLogger(__name__)

_LOCK = 0x4E1A7
_POLL_SECONDS = 1.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.001, 0.1
_BATCH = 500
_PLACE = text("SELECT xid::text AS xid, position FROM relay")
# Only forwards: a relay that lost its lock without knowing it cannot send its successor back. And without waiting for
# the disk: a place that a crash of PostgreSQL takes back is published from again.
_ADVANCE = text("""
UPDATE relay SET xid = CAST(CAST(:xid AS text) AS xid8), position = :position
WHERE (xid, position) < (CAST(CAST(:xid AS text) AS xid8), :position)
AND set_config('synchronous_commit', 'off', true) = 'off'
""")


class Relay:
    """Publishes one service's journal, each event to the topic that its type names."""

    def __init__(self, service: str, database: Database, journal: Journal, transport: Transport) -> None:
        self._service = service
        self._database = database
        self._journal = journal
        self._transport = transport

    async def run(self) -> None:
        """Relays for ever, or stands by while another replica does.

        Raises:
            Exception: the database or the transport failed; begin again.
        """
        async with await self._database.connect_raw() as connection, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._measure())
            await self._stand_by(connection)
            await connection.execute("LISTEN journal")
            tasks.create_task(self._wake(connection))
            await self._publish_all()

    async def _stand_by(self, connection: AsyncConnection[tuple[object, ...]]) -> None:
        """Waits for the session lock that one replica holds, and wakes that one when this process has appended.

        The lock is asked for again and again: a statement that waits for it would keep a snapshot, and so VACUUM,
        waiting too.
        """
        while True:
            cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
            if await cursor.fetchone() == (True,):
                return
            if await self._appended():
                self._journal.appended.clear()
                await connection.execute("NOTIFY journal")

    async def _wake(self, connection: AsyncConnection[tuple[object, ...]]) -> None:
        async for _ in connection.notifies():
            self._journal.appended.set()

    async def _publish_all(self) -> None:
        async with self._database.autocommit.connect() as connection:
            row = (await connection.execute(_PLACE)).one()
        place = Cursor(int(row.xid), row.position)
        log.info("relaying from %s", place)
        pause = _FIRST_PAUSE_SECONDS
        while True:
            self._journal.appended.clear()
            page = await self._journal.read(place, _BATCH)
            if page.events:
                pause = _FIRST_PAUSE_SECONDS
                await self._publish(page.events)
                place = page.cursor
                async with self._database.autocommit.connect() as connection:
                    await connection.execute(_ADVANCE, {"xid": str(place.xid), "position": place.position})
            elif page.unsettled:
                # Nothing tells when a transaction in flight, perhaps of another database of this server, ends. Looking
                # less and less often costs no more than the wait was long already.
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                await self._appended()

    async def _publish(self, events: Sequence[Event]) -> None:
        spans = [self._span(event) for event in events] if telemetry.enabled() else []
        with telemetry.ended(spans):
            contexts = map(telemetry.inject, spans) if spans else repeat({}, len(events))
            await self._transport.publish(
                [self._message(event, trace) for event, trace in zip(events, contexts, strict=True)]
            )
        PUBLISHED.labels(self._service).inc(len(events))

    def _span(self, event: Event) -> Span:
        system = self._transport.system
        return telemetry.message(
            SpanKind.PRODUCER, event.metadata, system=system, destination=event.type, message_id=event.id
        )

    def _message(self, event: Event, trace: Mapping[str, str]) -> Message:
        headers = {"event-id": event.id, "type": event.type, "version": str(event.version), **event.metadata}
        if event.recorded_at:
            headers["recorded-at"] = event.recorded_at.isoformat()
        headers.update(trace)
        value = {**event.data, "version": event.version, "eventId": event.id}
        return Message(event.type, event.stream, json.dumps(value).encode(), headers)

    async def _appended(self) -> bool:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                return await self._journal.appended.wait()
        except TimeoutError:
            return False

    async def _measure(self) -> None:
        while True:
            BACKLOG.labels(self._service).set(await self._journal.backlog())
            await asyncio.sleep(5)
