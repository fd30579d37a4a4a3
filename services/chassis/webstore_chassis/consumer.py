"""The idempotent consumer: events in, effects once; what cannot be handled goes to the dead-letter topic, with the
reason.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from opentelemetry.trace import Span, SpanKind
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from webstore_chassis import context, telemetry
from webstore_chassis.events import Event
from webstore_chassis.metrics import CONSUMED, CONSUMER_LAG, DEAD_LETTERS
from webstore_chassis.problems import Unavailable, is_outage
from webstore_chassis.transport import Message, Transport

log = logging.getLogger(__name__)

# For the services' migrations.
INBOX_SCHEMA_1 = """
CREATE TABLE inbox (
    event_id text PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inbox_received_at ON inbox (received_at);
"""
_RECEIVE = text("""
INSERT INTO inbox (event_id) SELECT DISTINCT id FROM unnest(CAST(:ids AS text[])) AS id ORDER BY id
ON CONFLICT DO NOTHING RETURNING event_id
""")
# Well above the time for which a topic keeps what could come again.
_FORGET = text("DELETE FROM inbox WHERE received_at < now() - interval '30 days'")

Handler = Callable[[Sequence[Event]], Awaitable[None]]


async def unseen(connection: AsyncConnection, events: Sequence[Event]) -> list[Event]:
    """The events not handled before, each once; they count as handled once the caller's transaction is committed."""
    new = set((await connection.execute(_RECEIVE, {"ids": [event.id for event in events]})).scalars())
    fresh = []
    for event in events:
        if event.id in new:
            new.remove(event.id)
            fresh.append(event)
    return fresh


async def forget_old(connection: AsyncConnection) -> None:
    """Removes from the inbox what can no longer come again."""
    await connection.execute(_FORGET)


@contextmanager
def handling(event: Event) -> Iterator[None]:
    """Makes one event of several the cause, and its trace the one, of what is done in a block of code."""
    request_token = context.request_id.set(event.id)
    actor_token = context.actor.set(event.metadata.get("actor"))
    try:
        with telemetry.continued(event.metadata):
            yield
    finally:
        context.actor.reset(actor_token)
        context.request_id.reset(request_token)


class Consumer:
    """Feeds a service's handler from topics.

    Args:
        group: the consumer group, and the service's name in figures.
        handler: has the effects of the events it is given, in one transaction with the note that it has seen them.
            It must expect any of them to come again. It is given several at once where several wait.
    """

    def __init__(self, group: str, topics: Sequence[str], handler: Handler, transport: Transport) -> None:
        self.group = group
        self.topics = topics
        self._handler = handler
        self._transport = transport
        self._oldest: datetime | None = None
        for topic in topics:
            CONSUMED.labels(group, topic)
            DEAD_LETTERS.labels(group, topic)
        # Asked for when the figures are: it grows while nothing else happens.
        CONSUMER_LAG.labels(group).set_function(self.lag)

    def lag(self) -> float:
        """How many seconds ago the first of the events in hand, or else the last ones handled, was recorded; 0 where no
        more wait.
        """
        return max(0.0, (datetime.now(UTC) - self._oldest).total_seconds()) if self._oldest else 0.0

    async def run(self) -> None:
        """Consumes for ever.

        Raises:
            Exception: the transport failed; begin again.
        """
        await self._transport.consume(self.group, self.topics, self.deliver)

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Returns when each message has had its effect, or is a dead letter. No messages: no more wait."""
        if not messages:
            self._oldest = None
            return
        context.service.set(self.group)
        events: list[tuple[Message, Event]] = []
        for message in messages:
            try:
                events.append((message, _event(message)))
            except Exception as error:
                await self._bury(message, f"not an event: {type(error).__name__}: {error}")
        if events:
            self._oldest = events[0][1].recorded_at
            await self._attempt(events)
        for message in messages:
            CONSUMED.labels(self.group, message.topic).inc()

    async def _attempt(self, events: Sequence[tuple[Message, Event]]) -> None:
        pause = 0.05
        while True:
            try:
                return await self._handle(events)
            except Exception as error:
                if is_outage(error) or isinstance(error, Unavailable):
                    log.warning("%d events wait: %s", len(events), error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 5.0)
                    continue
                if len(events) == 1:
                    log.exception("event %s cannot be handled", events[0][1].id)
                    return await self._bury(events[0][0], f"{type(error).__name__}: {error}")
            # One of them is bad; the others shall not suffer for it.
            for pair in events:
                await self._attempt([pair])
            return None

    async def _handle(self, events: Sequence[tuple[Message, Event]]) -> None:
        spans = [self._span(message, event) for message, event in events] if telemetry.enabled() else []
        batch = [event for _, event in events]
        if spans:  # what an event causes is a part of its processing
            batch = [
                replace(event, metadata={**event.metadata, **telemetry.inject(span)})
                for event, span in zip(batch, spans, strict=True)
            ]
        with telemetry.ended(spans), handling(batch[0]), telemetry.together(spans):
            await self._handler(batch)

    def _span(self, message: Message, event: Event) -> Span:
        return telemetry.message(
            SpanKind.CONSUMER,
            message.headers,
            system=self._transport.system,
            destination=message.topic,
            message_id=event.id,
            more={"messaging.consumer.group.name": self.group},
        )

    async def _bury(self, message: Message, reason: str) -> None:
        DEAD_LETTERS.labels(self.group, message.topic).inc()
        log.error("dead letter: %s %s: %s", message.topic, message.headers.get("event-id"), reason)
        await self._transport.publish([message.dead(self.group, reason[:1000])])


def _event(message: Message) -> Event:
    headers = message.headers
    value = json.loads(message.value)
    if not isinstance(value, dict):
        raise TypeError("the value is not a JSON object")
    recorded = headers.get("recorded-at")
    return Event(
        message.key,
        int(headers["version"]),
        headers["type"],
        value,
        headers,
        datetime.fromisoformat(recorded) if recorded else None,
    )
