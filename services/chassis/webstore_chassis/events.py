"""What an event is, in the journal and on a topic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a stream; `version` counts the stream's events from 1."""

    stream: str
    version: int
    type: str
    data: Mapping[str, Any]
    metadata: Mapping[str, str] = field(default_factory=dict)
    recorded_at: datetime | None = None

    @property
    def id(self) -> str:
        """The same for every delivery of this event, and of no other: a stream has each version once."""
        return f"{self.stream}@{self.version}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a journal: events are ordered by (xid, position); see `journal`."""

    xid: int = 0
    position: int = 0

    def __str__(self) -> str:
        return f"{self.xid}-{self.position}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The reverse of `str`.

        Raises:
            ValueError: it is not a cursor.
        """
        xid, _, position = text.partition("-")
        return cls(int(xid), int(position))
