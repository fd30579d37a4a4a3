"""What a cart's events do to the read model. Pure rules, no I/O.

An event puts an entry in, or erases the entries up to a version, or both. Erasing reaches only below the erasing
event's own version, so the effects of a stretch of events can be applied in any order: all entries first, then all
that is erased.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

from webstore_chassis.events import Event


@dataclass(frozen=True, slots=True)
class Entry:
    """So many of a product, put in by the event of this version."""

    stream: str
    version: int
    product_number: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Erasure:
    """The stream's entries up to this version are gone: those of one product, or (None) all."""

    stream: str
    version: int
    product_number: str | None


@dataclass(frozen=True, slots=True)
class Effects:
    """What a stretch of events does."""

    entries: list[Entry]
    erasures: list[Erasure]


def stream(customer_id: str, cart_number: str) -> str:
    """The name of a cart's stream."""
    return f"cart/{customer_id}/{cart_number}"


def cart_id(stream: str) -> UUID:
    """A cart's id: the same in every read model built from the same events."""
    return uuid5(NAMESPACE_URL, f"urn:webstore:{stream}")


def effects(events: Iterable[Event]) -> Effects:
    """What these events of carts do together.

    Raises:
        ValueError: a cart has no such event.
    """
    entries: list[Entry] = []
    erasures: list[Erasure] = []
    for event in events:
        data = event.data
        match event.type:
            case "product-added":
                entries.append(Entry(event.stream, event.version, data["productNumber"], data["quantity"]))
            case "product-updated":
                entries.append(Entry(event.stream, event.version, data["productNumber"], data["quantity"]))
                erasures.append(Erasure(event.stream, event.version - 1, data["productNumber"]))
            case "product-removed":
                erasures.append(Erasure(event.stream, event.version, data["productNumber"]))
            case "cart-checked-out":
                erasures.append(Erasure(event.stream, data["cartVersion"], None))
            case unknown:
                raise ValueError(f"a cart has no event {unknown}")
    return Effects(entries, erasures)


def following(events: Iterable[Event], known: Mapping[str, int]) -> tuple[list[Event], set[str]]:
    """Of these events, those that continue what is known without a gap, each once, and the streams that do have a gap.

    Args:
        known: each stream's version so far.
    """
    versions = dict(known)
    next_ones: list[Event] = []
    gaps: set[str] = set()
    for event in sorted(events, key=lambda event: (event.stream, event.version)):
        expected = versions[event.stream] + 1
        if event.version == expected:
            next_ones.append(event)
            versions[event.stream] = event.version
        elif event.version > expected:
            gaps.add(event.stream)
    return next_ones, gaps
