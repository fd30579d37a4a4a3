"""The journal and its relay alone, at one database: events a second, beside pgbench with the same statement."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import uvloop

from tests.bench import pgbench
from tests.processes import Postgres
from webstore_chassis.database import Database
from webstore_chassis.events import Cursor, Event
from webstore_chassis.journal import Journal
from webstore_chassis.relay import Relay
from webstore_chassis.transport import Deliver, Message
from webstore_shopping_command.app import ShoppingCommandSettings, database

CONNECTIONS = 16
_EVENTS = 20_000  # that the relay publishes in a round
_DATA = {"cartNumber": "900", "productNumber": "001", "quantity": 1, "customerId": "c1"}


class _Counting:
    """A transport that takes everything at once, so that nothing but the relay is measured."""

    def __init__(self) -> None:
        self.published = 0
        self.all_there = asyncio.Event()

    async def publish(self, messages: Sequence[Message]) -> None:
        self.published += len(messages)
        if self.published >= _EVENTS:
            self.all_there.set()

    async def consume(self, group: str, topics: Sequence[str], deliver: Deliver) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        pass


def run(rounds: int, seconds: float) -> dict[str, Any]:
    """Medians of the rounds, events a second."""
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(Path(folder) / "postgres")
        try:
            for number in range(1, rounds + 1):
                pgbench.prepare(postgres.url)
                address = postgres.database(pgbench.DATABASE)
                pgbench.create_tables(address)
                options = {"connections": CONNECTIONS, "seconds": seconds}
                found = {"pgbench: append": pgbench.rate(address, pgbench.append_script(), **options)}
                found |= uvloop.run(_round(address, seconds))
                for name, rate in found.items():
                    rates.setdefault(name, []).append(rate)
                print(f"journal and relay: round {number} of {rounds}", flush=True)
        finally:
            postgres.stop()
    return {name: {"rate": statistics.median(found)} for name, found in rates.items()}


async def _round(address: str, seconds: float) -> dict[str, float]:
    own = database(ShoppingCommandSettings(database_url=address, database_pool_size=CONNECTIONS))
    journal = Journal(own)
    try:
        appended = await _append(journal, seconds)
        return {
            "journal: append": appended,
            "relay": await _relay(own, journal, address),
            "replay": await _read(journal),
        }
    finally:
        await own.close()


async def _append(journal: Journal, seconds: float) -> float:
    ends = time.perf_counter() + seconds
    counts = [0] * CONNECTIONS

    async def work(worker: int) -> None:
        while time.perf_counter() < ends:
            counts[worker] += 1
            await journal.append(Event(f"cart/w{worker}/{counts[worker]}", 1, "product-added", _DATA))

    await asyncio.gather(*map(work, range(CONNECTIONS)))
    return sum(counts) / seconds


async def _relay(own: Database, journal: Journal, address: str) -> float:
    await asyncio.to_thread(_fill, address)
    transport = _Counting()
    relay = asyncio.create_task(Relay("bench", own, journal, transport).run())
    started = time.perf_counter()
    await transport.all_there.wait()
    rate = transport.published / (time.perf_counter() - started)
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)
    return rate


async def _read(journal: Journal) -> float:
    """Reads the whole journal in its order, as a rebuild has shopping-command do."""
    started = time.perf_counter()
    count, cursor = 0, Cursor()
    while (page := await journal.read(cursor, 5000)).events:
        count, cursor = count + len(page.events), page.cursor
    return count / (time.perf_counter() - started)


def _fill(address: str) -> None:
    with psycopg.connect(address) as connection:
        connection.execute("TRUNCATE journal")
        connection.execute(FILL, {"events": _EVENTS})


# Carts of a hundred events each, as customers leave them: three products put in, changed and taken out by turns.
FILL = """
INSERT INTO journal (xid, stream, version, type, data, metadata)
SELECT pg_current_xact_id(), 'cart/c' || (n / 100) || '/900', n %% 100 + 1,
       CASE WHEN n %% 100 < 3 THEN 'product-added' WHEN n %% 5 = 4 THEN 'product-updated' ELSE 'product-added' END,
       jsonb_build_object('cartNumber', '900', 'customerId', 'c' || (n / 100), 'productNumber', '00' || n %% 3,
                          'quantity', n %% 9 + 1),
       '{"causation_id": "5f0c1b587a554c439f5b7d6c1f1f2c11", "actor": "c1"}'
FROM generate_series(0, %(events)s - 1) AS n
"""
