"""The figures that tell how far behind a consumer is: true while it waits, while it works, and when all is done."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from webstore_chassis.consumer import Consumer
from webstore_chassis.events import Event
from webstore_chassis.problems import Unavailable
from webstore_chassis.transport import Local, Message

_AGE_SECONDS = 100


class Service:
    """Takes parcels while it is well."""

    def __init__(self) -> None:
        self.well = asyncio.Event()
        self.asked = asyncio.Semaphore(0)

    async def handle(self, _: Sequence[Event]) -> None:
        self.asked.release()
        if not self.well.is_set():
            raise Unavailable("The store room is closed.", retry_after=1)


def _late(number: int) -> Message:
    recorded = (datetime.now(UTC) - timedelta(seconds=_AGE_SECONDS)).isoformat()
    headers = {"event-id": f"p@{number}", "version": str(number), "type": "parcel", "recorded-at": recorded}
    return Message("parcels", "p", b"{}", headers)


def _lag() -> float:
    lag = REGISTRY.get_sample_value("webstore_consumer_lag_seconds", {"service": "parcels"})
    assert lag is not None, "it is there from the start"
    return lag


@pytest.fixture
def transport(tmp_path: Path) -> Local:
    return Local(1, tmp_path / "dead-letters.jsonl")


async def test_the_lag_grows_while_an_event_is_tried_again_and_is_nothing_once_it_is_handled(transport: Local) -> None:
    service = Service()
    consuming = asyncio.create_task(Consumer("parcels", ["parcels"], service.handle, transport).run())
    publishing = asyncio.create_task(transport.publish([_late(1)]))
    try:
        async with asyncio.timeout(20):
            await service.asked.acquire()
            first = _lag()
            await service.asked.acquire()  # it has been tried again
            assert _AGE_SECONDS <= first < _lag()
            service.well.set()
            await publishing
        assert _lag() == 0, "an event that was late is no lag when nothing waits"
    finally:
        consuming.cancel()
        publishing.cancel()


async def test_between_batches_the_lag_stays_until_no_more_wait(transport: Local) -> None:
    service = Service()
    service.well.set()
    consumer = Consumer("parcels", ["parcels"], service.handle, transport)
    assert _lag() == 0
    await consumer.deliver([_late(1)])
    assert _lag() >= _AGE_SECONDS
    await consumer.deliver([])
    assert _lag() == 0
