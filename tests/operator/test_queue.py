"""One look at a time for each store, and another after what came in the meantime."""

import asyncio

from webstore_operator.queue import Queue


async def test_what_wakes_an_item_during_a_look_brings_exactly_one_more() -> None:
    begun, go = asyncio.Queue[str](), asyncio.Event()
    active: set[str] = set()
    looks: list[str] = []

    async def look(item: str) -> None:
        assert item not in active, "looks at one item never overlap"
        active.add(item)
        looks.append(item)
        begun.put_nowait(item)
        await go.wait()
        active.discard(item)

    queue: Queue[str] = Queue(look, workers=4)
    queue.wake("a")
    await begun.get()
    for _ in range(5):
        queue.wake("a")
    queue.wake("b")
    await begun.get()
    go.set()
    await begun.get()
    await asyncio.sleep(0)
    assert looks == ["a", "b", "a"]


async def test_a_failed_look_is_tried_again() -> None:
    done = asyncio.Event()
    tries = 0

    async def look(_: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RuntimeError("not this time")
        done.set()

    queue: Queue[str] = Queue(look, workers=1)
    queue.wake("a")
    await asyncio.wait_for(done.wait(), 30)
    assert tries == 3


async def test_no_more_items_are_looked_at_at_a_time_than_there_are_workers() -> None:
    active = most = 0
    seen: set[int] = set()
    done = asyncio.Event()

    async def look(item: int) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0)
        active -= 1
        seen.add(item)
        if len(seen) == 50:
            done.set()

    queue: Queue[int] = Queue(look, workers=3)
    for item in range(50):
        queue.wake(item)
    await asyncio.wait_for(done.wait(), 30)
    assert most == 3


async def test_a_forgotten_item_is_left_at_once() -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def look(_: str) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    queue: Queue[str] = Queue(look, workers=1)
    queue.wake("a")
    await begun.wait()
    queue.forget("a")
    await asyncio.wait_for(left.wait(), 10)
