"""The read model and the checkouts in PostgreSQL.

The read model's tables are in the schema `read_model`, and a rebuilt one is made in another, so that it can take the
place by renaming.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from webstore_chassis.coalesce import Coalescer
from webstore_chassis.database import Database
from webstore_chassis.events import Event
from webstore_chassis.journal import Journal, in_context
from webstore_shopping_query.domain import Effects, cart_id, effects, following

LIVE = "read_model"

READ_MODEL_1 = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.cart (
    stream text PRIMARY KEY,
    id uuid NOT NULL,
    customer_id text NOT NULL,
    cart_number text NOT NULL,
    version integer NOT NULL
);
CREATE INDEX ON {schema}.cart (customer_id);
CREATE TABLE {schema}.cart_entry (
    stream text NOT NULL,
    version integer NOT NULL,
    product_number text NOT NULL,
    quantity integer NOT NULL,
    PRIMARY KEY (stream, version)
);
"""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout that was begun: the cart's lines as of a version, to be ordered once."""

    stream: str
    cart_version: int
    customer_id: str
    cart_number: str
    lines: list[dict[str, Any]]

    @property
    def key(self) -> str:
        """The idempotency key of its order."""
        return f"{self.stream}@{self.cart_version}"


@dataclass(frozen=True, slots=True)
class _Finished:
    """A checkout that has its order, and the event that tells so."""

    checkout: Checkout
    event: Event


class EmptyCart(Exception):
    """There is nothing in the cart to order.

    Args:
        order_id: the order that the cart's last checkout made, if there was one.
    """

    def __init__(self, order_id: str | None) -> None:
        super().__init__(order_id)
        self.order_id = order_id


_LINES = """
coalesce((SELECT jsonb_agg(jsonb_build_object('productNumber', product_number, 'quantity', quantity) ORDER BY first)
          FROM (SELECT product_number, sum(quantity) AS quantity, min(version) AS first
                FROM read_model.cart_entry WHERE cart_entry.stream = cart.stream
                GROUP BY product_number) AS line), '[]')
"""
# The answer itself: to parse, check and write it again in Python took an eighth of the request's time.
_CARTS = text(f"""
SELECT customer_id, CAST(json_build_object('carts', json_agg(json_build_object(
    'id', id, 'cartNumber', cart_number, 'customerId', customer_id, 'cartLines', {_LINES}
) ORDER BY cart_number)) AS text) AS carts
FROM read_model.cart WHERE customer_id = ANY(:customer_ids) GROUP BY customer_id
""")
_VERSIONS = text("SELECT stream, version FROM read_model.cart WHERE stream = ANY(:streams)")
# In one order for everybody, so that two never wait for each other. What a statement after it sees of a cart and its
# lines fits together: whoever changes them holds this lock.
_LOCK = text("SELECT FROM read_model.cart WHERE stream = ANY(:streams) ORDER BY stream FOR UPDATE")
_BEGIN = text(f"""
WITH unfinished AS (SELECT * FROM checkout WHERE stream = ANY(:streams) AND order_id IS NULL),
begun AS (
    INSERT INTO checkout (stream, cart_version, customer_id, cart_number, lines)
    SELECT stream, version, customer_id, cart_number, lines
    FROM (SELECT cart.*, {_LINES} AS lines FROM read_model.cart WHERE stream = ANY(:streams)) AS now
    WHERE lines <> '[]' AND stream NOT IN (SELECT stream FROM unfinished) RETURNING *
)
SELECT * FROM unfinished UNION ALL SELECT * FROM begun
""")
_LAST_ORDERS = text("""
SELECT DISTINCT ON (stream) stream, order_id FROM checkout WHERE stream = ANY(:streams)
ORDER BY stream, cart_version DESC
""")
_FINISH = text("""
UPDATE checkout SET order_id = new.order_id
FROM unnest(CAST(:streams AS text[]), CAST(:versions AS integer[]), CAST(:orders AS text[]))
    AS new (stream, version, order_id)
WHERE checkout.stream = new.stream AND checkout.cart_version = new.version AND checkout.order_id IS NULL
RETURNING checkout.stream, checkout.cart_version
""")
# Not the oldest: a hundred that cannot be finished would keep all others from it.
_LEFT_BEHIND = text("""
SELECT * FROM checkout WHERE order_id IS NULL AND begun_at < now() - make_interval(secs => :age)
ORDER BY random() LIMIT 100
""")


class ReadModel:
    """The statements that change a read model, for one schema.

    Args:
        schema: the one it is in.
    """

    def __init__(self, schema: str = LIVE) -> None:
        # `= ANY` beside a join has the planner use the index, see tests/service/test_plans.py.
        self._known = self._statement("""
            INSERT INTO read_model.cart AS cart (stream, id, customer_id, cart_number, version)
            SELECT stream, id, customer_id, cart_number, 0 FROM unnest(
                CAST(:streams AS text[]), CAST(:ids AS uuid[]), CAST(:customers AS text[]), CAST(:numbers AS text[])
            ) AS new (stream, id, customer_id, cart_number) ORDER BY stream
            ON CONFLICT (stream) DO UPDATE SET version = cart.version RETURNING stream, version
        """, schema)  # fmt: skip
        self._enter = self._statement("""
            INSERT INTO read_model.cart_entry (stream, version, product_number, quantity) SELECT * FROM unnest(
                CAST(:streams AS text[]), CAST(:versions AS integer[]), CAST(:products AS text[]),
                CAST(:quantities AS integer[]))
        """, schema)  # fmt: skip
        self._erase = self._statement("""
            DELETE FROM read_model.cart_entry AS entry USING unnest(
                CAST(:streams AS text[]), CAST(:versions AS integer[]), CAST(:products AS text[])
            ) AS erased (stream, version, product_number)
            WHERE entry.stream = erased.stream AND entry.stream = ANY(CAST(:streams AS text[]))
              AND entry.version <= erased.version
              AND (erased.product_number IS NULL OR entry.product_number = erased.product_number)
        """, schema)  # fmt: skip
        self._advance = self._statement("""
            UPDATE read_model.cart SET version = new.version
            FROM unnest(CAST(:streams AS text[]), CAST(:versions AS integer[])) AS new (stream, version)
            WHERE cart.stream = new.stream AND cart.stream = ANY(CAST(:streams AS text[]))
        """, schema)  # fmt: skip

    @staticmethod
    def _statement(sql: str, schema: str) -> TextClause:
        return text(sql.replace(LIVE, schema))

    async def apply(self, connection: AsyncConnection, events: Sequence[Event]) -> set[str]:
        """Applies what continues each stream, ignores what it has seen; returns the streams where events are missing
        in between.
        """
        streams = {event.stream: event for event in events}
        carts = {
            "streams": list(streams),
            "ids": [cart_id(stream) for stream in streams],
            "customers": [event.data["customerId"] for event in streams.values()],
            "numbers": [event.data["cartNumber"] for event in streams.values()],
        }
        known = {row.stream: row.version for row in await connection.execute(self._known, carts)}
        new, gaps = following(events, known)
        if new:
            await self._write(connection, effects(new))
            versions = {event.stream: event.version for event in new}
            await connection.execute(self._advance, {"streams": list(versions), "versions": list(versions.values())})
        return gaps

    async def erase_bought(self, connection: AsyncConnection, checkouts: Sequence[tuple[str, int]]) -> None:
        """Takes out what checkouts (stream, cart version) bought."""
        await self._delete(connection, [(stream, version, None) for stream, version in checkouts])

    async def _write(self, connection: AsyncConnection, what: Effects) -> None:
        if what.entries:
            parameters = {
                "streams": [entry.stream for entry in what.entries],
                "versions": [entry.version for entry in what.entries],
                "products": [entry.product_number for entry in what.entries],
                "quantities": [entry.quantity for entry in what.entries],
            }
            await connection.execute(self._enter, parameters)
        if what.erasures:
            await self._delete(connection, [(e.stream, e.version, e.product_number) for e in what.erasures])

    async def _delete(self, connection: AsyncConnection, erased: Sequence[tuple[str, int, str | None]]) -> None:
        parameters = {
            "streams": [stream for stream, _, _ in erased],
            "versions": [version for _, version, _ in erased],
            "products": [product for _, _, product in erased],
        }
        await connection.execute(self._erase, parameters)


class Store:
    """The queries of the shopping-query service."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal
        self._model = ReadModel()
        self._carts_of = Coalescer(self._carts_of_customers)
        self._version = Coalescer(self._versions)
        self._begin = Coalescer(self._begin_all)
        self._finish = Coalescer(self._finish_all)

    async def carts(self, customer_id: str) -> str:
        """A customer's carts, by number, as the JSON that the API shows."""
        return await self._carts_of(customer_id)

    async def version(self, stream: str) -> int:
        """How far the read model has followed a cart; 0 if it does not know it."""
        return await self._version(stream)

    async def apply(self, events: Sequence[Event]) -> set[str]:
        """Applies events to the live read model; returns the streams where some are missing in between."""
        async with self._database.engine.begin() as connection:
            return await self._model.apply(connection, events)

    async def begin_checkout(self, stream: str) -> Checkout:
        """Records a checkout of a cart as it is known now; or returns the one that is under way, which has to be
        finished first.

        Raises:
            EmptyCart: there is nothing to order.
        """
        begun = await self._begin(stream)
        if isinstance(begun, EmptyCart):
            raise begun
        return begun

    async def finish_checkout(self, checkout: Checkout, order_id: str) -> None:
        """Notes the order, empties the cart of what was bought, and records `cart-checkout`: all of it, and once."""
        data = {
            "customerId": checkout.customer_id,
            "cartNumber": checkout.cart_number,
            "cartVersion": checkout.cart_version,
            "orderId": order_id,
        }
        event = Event(f"checkout/{checkout.key}", 1, "cart-checkout", data)
        await self._finish(_Finished(checkout, in_context(event)))

    async def left_behind(self, age_seconds: float) -> list[Checkout]:
        """Unfinished checkouts older than this, a hundred at the most."""
        async with self._database.autocommit.connect() as connection:
            return [_checkout(row) for row in await connection.execute(_LEFT_BEHIND, {"age": age_seconds})]

    async def _versions(self, streams: Sequence[str]) -> Sequence[int]:
        async with self._database.autocommit.connect() as connection:
            rows = await connection.execute(_VERSIONS, {"streams": list(set(streams))})
            known = {row.stream: row.version for row in rows}
        return [known.get(stream, 0) for stream in streams]

    async def _begin_all(self, streams: Sequence[str]) -> Sequence[Checkout | EmptyCart]:
        wanted = {"streams": list(set(streams))}
        last: dict[str, str] = {}
        async with self._database.engine.begin() as connection:
            await connection.execute(_LOCK, wanted)
            begun = {row.stream: _checkout(row) for row in await connection.execute(_BEGIN, wanted)}
            if empty := [stream for stream in wanted["streams"] if stream not in begun]:
                rows = await connection.execute(_LAST_ORDERS, {"streams": empty})
                last = {row.stream: row.order_id for row in rows}
        return [begun.get(stream) or EmptyCart(last.get(stream)) for stream in streams]

    async def _finish_all(self, finished: Sequence[_Finished]) -> Sequence[None]:
        # Two requests may finish one checkout: its order is the same.
        distinct = {(each.checkout.stream, each.checkout.cart_version): each for each in finished}
        parameters = {
            "streams": [stream for stream, _ in distinct],
            "versions": [version for _, version in distinct],
            "orders": [each.event.data["orderId"] for each in distinct.values()],
        }
        async with self._database.engine.begin() as connection:
            await connection.execute(_LOCK, {"streams": parameters["streams"]})
            rows = await connection.execute(_FINISH, parameters)
            done = [(row.stream, row.cart_version) for row in rows]
            if done:
                await self._model.erase_bought(connection, done)
                await self._journal.append_within(connection, [distinct[place].event for place in done])
        self._journal.notify()
        return [None] * len(finished)

    async def _carts_of_customers(self, customer_ids: Sequence[str]) -> Sequence[str]:
        async with self._database.autocommit.connect() as connection:
            found = await connection.execute(_CARTS, {"customer_ids": list(set(customer_ids))})
            carts: dict[str, str] = {row.customer_id: row.carts for row in found}
        return [carts.get(customer_id, '{"carts": []}') for customer_id in customer_ids]


def _checkout(row: Any) -> Checkout:
    return Checkout(row.stream, row.cart_version, row.customer_id, row.cart_number, row.lines)
