"""The journal and its relay: an event is published if and only if its change is committed, in a stream's order."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy import text

from tests.databases import Databases
from webstore_chassis.database import Database
from webstore_chassis.events import Cursor, Event
from webstore_chassis.journal import Journal, VersionConflict
from webstore_chassis.relay import Relay
from webstore_chassis.settings import Settings
from webstore_chassis.transport import Deliver, Message
from webstore_order import app as order


class Recorder:
    """A transport that keeps what is published, and fails as often as it is told."""

    system = "test"

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.arrived = asyncio.Event()
        self.failures = 0

    @property
    def ids(self) -> list[str]:
        return [message.headers["event-id"] for message in self.messages]

    async def publish(self, messages: Sequence[Message]) -> None:
        if self.failures:
            self.failures -= 1
            self.messages.extend(messages[: len(messages) // 2])  # some may be there: so says the port
            raise OSError("the broker is gone")
        self.messages.extend(messages)
        self.arrived.set()

    async def consume(self, group: str, topics: Sequence[str], deliver: Deliver) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is held."""

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not reached():
                self.arrived.clear()
                await self.arrived.wait()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Database, Journal]]:
    """A replica's view of a database."""
    database = order.database(Settings(database_url=url))
    try:
        yield database, Journal(database)
    finally:
        await database.close()


@asynccontextmanager
async def in_background(work: Awaitable[None]) -> AsyncIterator["asyncio.Future[None]"]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def replica(databases: Databases) -> AsyncIterator[tuple[Database, Journal]]:
    async with opened(databases.of("order")) as pair:
        yield pair


def event(stream: str, version: int = 1) -> Event:
    return Event(stream, version, "happened", {"n": version})


def relay(replica: tuple[Database, Journal], transport: Recorder) -> Relay:
    return Relay("test", *replica, transport)


async def test_all_sessions_carry_the_services_name(replica: tuple[Database, Journal]) -> None:
    database, _ = replica
    async with await database.connect_raw() as raw, database.autocommit.connect() as pooled:
        assert await (await raw.execute("SHOW application_name")).fetchone() == ("order",)
        assert (await pooled.execute(text("SHOW application_name"))).scalar_one() == "order"


async def test_no_reader_passes_an_event_of_a_transaction_in_flight(replica: tuple[Database, Journal]) -> None:
    database, journal = replica
    async with database.engine.begin() as slow:
        await journal.append_within(slow, [event("slow")])
        await journal.append(event("fast"))
        page = await journal.read(Cursor(), 10)
        assert (page.events, page.unsettled) == ([], True)
    page = await journal.read(page.cursor, 10)
    assert [e.stream for e in page.events] == ["slow", "fast"]


async def test_an_early_transaction_that_takes_a_late_position_hides_no_other(
    replica: tuple[Database, Journal],
) -> None:
    database, journal = replica
    async with database.engine.begin() as late, database.engine.begin() as early:
        await journal.append_within(early, [event("early", 1)])
        await journal.append_within(late, [event("late", 1)])
        await journal.append_within(early, [event("early", 2)])
        await early.commit()
        seen = await journal.read(Cursor(), 10)
        await late.commit()
    rest = await journal.read(seen.cursor, 10)
    assert [e.id for e in (*seen.events, *rest.events)] == ["early@1", "early@2", "late@1"]


async def test_a_change_that_is_rolled_back_leaves_no_event(replica: tuple[Database, Journal]) -> None:
    database, journal = replica

    async def change() -> None:
        async with database.engine.begin() as connection:
            await journal.append_within(connection, [event("undone")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change()
    assert await journal.count() == 0


async def test_of_two_appends_for_one_place_one_wins(replica: tuple[Database, Journal]) -> None:
    _, journal = replica
    outcomes = await asyncio.gather(*(journal.append(event("one")) for _ in range(20)), return_exceptions=True)
    assert Counter(map(type, outcomes)) == {type(None): 1, VersionConflict: 19}
    assert [e.id for e in await journal.stream("one", 0)] == ["one@1"]


async def test_replicas_that_append_to_the_same_streams_never_wait_for_each_other_in_a_circle(
    databases: Databases,
) -> None:
    url = databases.of("order")
    async with opened(url) as (_, one), opened(url) as (_, other):
        streams = [f"s{n}" for n in range(100)]
        for round_ in range(1, 21):
            outcomes = await asyncio.gather(
                *(one.append(event(stream, round_)) for stream in streams),
                *(other.append(event(stream, round_)) for stream in reversed(streams)),
                return_exceptions=True,
            )
            assert Counter(map(type, outcomes)) == {type(None): 100, VersionConflict: 100}


async def test_nor_do_transactions_that_append_to_several_streams(databases: Databases) -> None:
    async def append(database: Database, journal: Journal, events: list[Event]) -> None:
        async with database.engine.begin() as connection:
            await journal.append_within(connection, events)

    url = databases.of("order")
    async with opened(url) as one, opened(url) as other:
        for round_ in range(1, 21):
            events = [event(f"s{n}", round_) for n in range(100)]
            outcomes = await asyncio.gather(append(*one, events), append(*other, events[::-1]), return_exceptions=True)
            assert Counter(map(type, outcomes)) == {type(None): 1, VersionConflict: 1}


async def test_a_reader_sees_every_event_once_and_each_stream_in_order_while_many_append(
    replica: tuple[Database, Journal],
) -> None:
    database, journal = replica
    streams, most = 12, 15

    async def write(number: int) -> None:
        for version in range(1, most + 1):
            if version % 3:
                await journal.append(event(f"s{number}", version))
            else:
                async with database.engine.begin() as connection:
                    await journal.append_within(connection, [event(f"s{number}", version)])

    async def read() -> list[str]:
        cursor, seen = Cursor(), list[str]()
        while len(seen) < streams * most:
            page = await journal.read(cursor, 7)
            cursor = page.cursor
            seen += [e.id for e in page.events]
        return seen

    seen, *_ = await asyncio.gather(read(), *(write(number) for number in range(streams)))
    for number in range(streams):
        mine = [id_ for id_ in seen if id_.startswith(f"s{number}@")]
        assert mine == [f"s{number}@{version}" for version in range(1, most + 1)]


async def test_the_relay_publishes_each_event_once_under_its_stream_as_the_key(
    replica: tuple[Database, Journal],
) -> None:
    transport = Recorder()
    async with in_background(relay(replica, transport).run()):
        await asyncio.gather(*(replica[1].append(event(f"s{n}")) for n in range(30)))
        await transport.until(lambda: len(transport.messages) >= 30)
    assert sorted(transport.ids) == sorted(f"s{n}@1" for n in range(30))
    assert all(message.key == message.headers["event-id"].partition("@")[0] for message in transport.messages)
    assert {message.topic for message in transport.messages} == {"happened"}


async def test_what_a_failed_batch_left_out_is_published_when_the_relay_begins_again(
    replica: tuple[Database, Journal],
) -> None:
    transport = Recorder()
    transport.failures = 1
    for number in range(10):
        await replica[1].append(event(f"s{number}"))
    with pytest.raises(ExceptionGroup):
        await relay(replica, transport).run()
    async with in_background(relay(replica, transport).run()):
        await transport.until(lambda: set(transport.ids) == {f"s{n}@1" for n in range(10)})


async def test_one_relay_of_many_replicas_publishes_and_another_takes_over(databases: Databases) -> None:
    url = databases.of("order")
    transport = Recorder()
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(opened(url)) for _ in range(3)]
        first = await stack.enter_async_context(in_background(relay(replicas[0], transport).run()))
        await replicas[0][1].append(event("before"))
        await transport.until(lambda: transport.ids == ["before@1"])
        for standby in replicas[1:]:
            await stack.enter_async_context(in_background(relay(standby, transport).run()))
        await replicas[2][1].append(event("of a standby"))
        await transport.until(lambda: transport.ids == ["before@1", "of a standby@1"])
        while await replicas[0][1].backlog():  # what it has published and not yet noted as such would come again
            await asyncio.sleep(0.01)
        first.cancel()
        await replicas[1][1].append(event("after"))
        await transport.until(lambda: transport.ids == ["before@1", "of a standby@1", "after@1"])
