"""Between a relay and the consumers: a port, with Kafka (`kafka`) and the process itself (`Local`) as its adapters."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

log = logging.getLogger(__name__)

DEAD_LETTERS = ".dlq"


@dataclass(frozen=True, slots=True)
class Message:
    """What travels: a JSON value under a key, which keeps a stream's messages in order, and text headers."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str]

    def dead(self, group: str, reason: str) -> "Message":
        """The same message for the dead-letter topic, with who gave it up, and why."""
        headers = {**self.headers, "dead-group": group, "dead-reason": reason}
        return replace(self, topic=self.topic + DEAD_LETTERS, headers=headers)


Deliver = Callable[[Sequence[Message]], Awaitable[None]]


class Transport(Protocol):
    """Carries messages, each at least once.

    Args:
        system: what it is in traces (`messaging.system` of the semantic conventions).
    """

    system: str

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns once all messages are safe with the transport; after an exception, some may be."""

    async def consume(self, group: str, topics: Sequence[str], deliver: Deliver) -> None:
        """Delivers the topics' messages to a group, for ever; what `deliver` returned from is not delivered again. An
        empty delivery tells that no more wait.
        """

    async def close(self) -> None:
        """Lets go of connections."""


class Local:
    """Delivers within the process: `publish` returns when every group has taken the messages.

    So the relay's place in the journal is the group's place too, and nothing else needs to be kept. Dead letters go
    to a file, a JSON object a line.

    Args:
        groups: how many groups must have asked for messages before any is delivered; one that comes late would miss
            some.
        dead_letters: the file for what is given up.
    """

    system = "webstore"

    def __init__(self, groups: int, dead_letters: Path) -> None:
        self._expected = groups
        self._complete = asyncio.Event()
        self._groups: dict[str, tuple[frozenset[str], Deliver]] = {}
        self._dead_letters = dead_letters

    async def publish(self, messages: Sequence[Message]) -> None:
        """Delivers to all groups at once, to each in order."""
        await self._complete.wait()
        await asyncio.gather(
            *(
                _deliver_all(deliver, wanted)
                for topics, deliver in self._groups.values()
                if (wanted := [message for message in messages if message.topic in topics])
            )
        )
        if dead := [message for message in messages if message.topic.endswith(DEAD_LETTERS)]:
            await asyncio.to_thread(self._keep, dead)

    async def consume(self, group: str, topics: Sequence[str], deliver: Deliver) -> None:
        """Takes part in every later `publish`, until it is cancelled."""
        self._groups[group] = (frozenset(topics), deliver)
        if len(self._groups) >= self._expected:
            self._complete.set()
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing is held."""

    def _keep(self, messages: Sequence[Message]) -> None:
        with self._dead_letters.open("a") as file:
            for message in messages:
                value = message.value.decode(errors="replace")
                file.write(
                    json.dumps({"topic": message.topic, "key": message.key, "value": value, **message.headers}) + "\n"
                )


async def _deliver_all(deliver: Deliver, messages: Sequence[Message]) -> None:
    await deliver(messages)
    await deliver(())
