"""One statement for what many requests want at the same time (the pattern of https://github.com/graphql/dataloader)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from opentelemetry.trace import Span

from webstore_chassis import context, telemetry

Item = TypeVar("Item")
Result = TypeVar("Result")
_MOST = 100


class Coalescer(Generic[Item, Result]):
    """Collects calls while a statement is under way, and serves all of them with the next.

    A call is never served by a statement that began before it: it sees every change committed by then. Alone, a call
    waits for nobody; under load, the statements grow instead of the queue.

    Args:
        execute: takes a hundred items at the most, returns a result for each, in order. What it raises, every caller of
            that batch gets.
    """

    def __init__(self, execute: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._execute = execute
        self._waiting: list[tuple[Item, asyncio.Future[Result], Span]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """The result for one item."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future, context.span.get()))
        if self._running is None:
            # A task of its own, so that a caller that goes away takes no other caller's answer with it.
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._serve(batch)
        finally:
            self._running = None

    async def _serve(self, batch: list[tuple[Item, asyncio.Future[Result], Span]]) -> None:
        try:
            with telemetry.together([caller for _, _, caller in batch]):
                results = await self._execute([item for item, _, _ in batch])
        except Exception as error:
            for _, future, _ in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future, _), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
