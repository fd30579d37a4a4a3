"""Looks at stores one at a time each, a few at the same time in all, and again after a failure, ever more patiently."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from webstore_operator.metrics import RECONCILES, SECONDS

logger = logging.getLogger(__name__)

Item = TypeVar("Item", bound=Hashable)

# Events come in bursts; somebody who fights over a field gets no more than four answers a second.
GAP_SECONDS = 0.25
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 60.0


class Queue(Generic[Item]):
    """Wakes `look` for items.

    What wakes an item while it is being looked at brings another look. A look is never cut short by the next.

    Args:
        look: returns the seconds until the next look, or None; what it raises is logged, and it is tried again.
        workers: most looks at the same time.
    """

    def __init__(self, look: Callable[[Item], Awaitable[float | None]], *, workers: int) -> None:
        self._look = look
        self._slots = asyncio.Semaphore(workers)
        self._woken: dict[Item, asyncio.Event] = {}
        self._tasks: dict[Item, asyncio.Task[None]] = {}

    def wake(self, item: Item) -> None:
        """Has the item looked at soon."""
        self._woken.setdefault(item, asyncio.Event()).set()
        if item not in self._tasks:
            self._tasks[item] = asyncio.create_task(self._run(item), name=f"look at {item}")

    def forget(self, item: Item) -> None:
        """Stops looking at the item, at once."""
        self._woken.pop(item, None)
        task = self._tasks.pop(item, None)
        if task:
            task.cancel()

    async def close(self) -> None:
        """Stops looking at all."""
        tasks = list(self._tasks.values())
        for item in list(self._tasks):
            self.forget(item)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, item: Item) -> None:
        """A task lives while there is something to do or to wait for, so that an idle item costs nothing."""
        woken, failures = self._woken[item], 0
        try:
            while True:
                woken.clear()
                async with self._slots:
                    delay, failures = await self._once(item, failures)
                if delay is None and not woken.is_set():
                    return
                await asyncio.sleep(GAP_SECONDS if failures == 0 else min(delay or 0, 1.0))
                if delay is not None:
                    await _wait(woken, delay - GAP_SECONDS, at_once=failures == 0)
        finally:
            if self._tasks.get(item) is asyncio.current_task():
                self._tasks.pop(item)
                self._woken.pop(item, None)

    async def _once(self, item: Item, failures: int) -> tuple[float | None, int]:
        began = time.perf_counter()
        outcome = "done"
        try:
            return await self._look(item), 0
        except Exception as error:
            outcome = "failed"
            failures += 1
            delay = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(failures, 10)) * random.uniform(0.5, 1)  # noqa: S311
            logger.warning(
                "Looking at %s failed and is tried again in %.1f s: %s",
                item,
                delay,
                error,
                exc_info=not hasattr(error, "transient"),
            )
            return delay, failures
        finally:
            RECONCILES.labels(outcome).inc()
            SECONDS.observe(time.perf_counter() - began)


async def _wait(woken: asyncio.Event, seconds: float, *, at_once: bool) -> None:
    """Waits that long; an event ends it, except after a failure, whose back-off events must not cut short."""
    if not at_once:
        await asyncio.sleep(max(0, seconds))
        return
    try:
        async with asyncio.timeout(max(0, seconds)):
            await woken.wait()
    except TimeoutError:
        pass
