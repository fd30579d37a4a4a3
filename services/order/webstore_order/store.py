"""Orders in PostgreSQL."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from webstore_chassis import telemetry
from webstore_chassis.coalesce import Coalescer
from webstore_chassis.database import Database
from webstore_chassis.events import Event
from webstore_chassis.journal import Journal, in_context
from webstore_order.domain import Lines, Order, Status, stream

_COLUMNS = "id, customer_id, status, created_at AS time_stamp, lines AS order_lines, attempt, trace"
_CREATE = text(f"""
INSERT INTO customer_order (id, customer_id, idempotency_key, lines, trace)
SELECT id, customer_id, idempotency_key, CAST(lines AS jsonb), CAST(trace AS jsonb) FROM unnest(
    CAST(:ids AS uuid[]), CAST(:customers AS text[]), CAST(:keys AS text[]), CAST(:lines AS text[]),
    CAST(:traces AS text[])) AS new (id, customer_id, idempotency_key, lines, trace)
ON CONFLICT (customer_id, idempotency_key) DO NOTHING RETURNING {_COLUMNS}
""")
# `= ANY` beside the join has the planner use the index, see tests/service/test_plans.py.
_BY_KEY = text(f"""
SELECT idempotency_key, {_COLUMNS} FROM customer_order
JOIN unnest(CAST(:customers AS text[]), CAST(:keys AS text[])) AS asked (customer_id, idempotency_key)
    USING (customer_id, idempotency_key)
WHERE customer_id = ANY(:customers) AND idempotency_key = ANY(:keys)
""")
_GET = text(f"SELECT {_COLUMNS} FROM customer_order WHERE id = ANY(:ids)")
_LIST = text(f"SELECT {_COLUMNS} FROM customer_order WHERE customer_id = ANY(:customer_ids) ORDER BY created_at, id")
_PLACE = text("""
UPDATE customer_order SET status = 'PLACED' WHERE id = :id AND status = 'PENDING' AND attempt = :attempt RETURNING id
""")
_WITHDRAW = text("""
UPDATE customer_order SET attempt = attempt + 1 WHERE id = :id AND status = 'PENDING' AND attempt <= :attempt
""")
_STATUS = text("SELECT status FROM customer_order WHERE id = :id")


class KeyReused(Exception):
    """The idempotency key belongs to an order with other lines."""


@dataclass(frozen=True, slots=True)
class _New:
    id: UUID
    customer_id: str
    key: str | None
    lines: Lines
    trace: Mapping[str, str]


class Store:
    """The queries of the order service."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal
        self._create = Coalescer(self._create_all)
        self._of_customer = Coalescer(self._of_customers)
        self._get = Coalescer(self._get_all)

    async def create(self, customer_id: str, lines: Lines, idempotency_key: str | None) -> Order:
        """Creates an order; with a key that was used before, returns the order that it made then.

        Raises:
            KeyReused: that order has other lines.
        """
        order = await self._create(_New(uuid4(), customer_id, idempotency_key, lines, telemetry.inject()))
        if order.order_lines != lines:
            raise KeyReused
        return order

    async def get(self, order_id: UUID, customer_id: str) -> Order | None:
        """A customer's order; None if the customer has none with this id."""
        order = await self._get(order_id)
        return order if order is not None and order.customer_id == customer_id else None

    async def of_customer(self, customer_id: str) -> Sequence[Order]:
        """A customer's orders, oldest first."""
        return await self._of_customer(customer_id)

    async def place(self, order: Order) -> bool:
        """Makes an order PLACED and records `order-placed`, in one transaction; False if the attempt was withdrawn,
        or it was placed.
        """
        placed = Event(stream(order.id), 1, "order-placed", order.placed())
        async with self._database.engine.begin() as connection:
            if (await connection.execute(_PLACE, {"id": order.id, "attempt": order.attempt})).one_or_none() is None:
                return False
            await self._journal.append_within(connection, [in_context(placed)])
        self._journal.notify()
        return True

    async def withdraw(self, order_id: UUID, attempt: int) -> bool | None:
        """Keeps attempts up to this number from placing the order. Returns whether it is placed; None if there is no
        such order.
        """
        async with self._database.autocommit.connect() as connection:
            await connection.execute(_WITHDRAW, {"id": order_id, "attempt": attempt})
            status = (await connection.execute(_STATUS, {"id": order_id})).scalar_one_or_none()
        return None if status is None else status == Status.PLACED

    async def _create_all(self, orders: Sequence[_New]) -> Sequence[Order]:
        # In one order for every replica, so that two never wait for each other.
        new = sorted(orders, key=lambda order: (order.customer_id, order.key or ""))
        parameters = {
            "ids": [order.id for order in new],
            "customers": [order.customer_id for order in new],
            "keys": [order.key for order in new],
            "lines": [json.dumps(order.lines) for order in new],
            "traces": [json.dumps(order.trace) for order in new],
        }
        async with self._database.autocommit.connect() as connection:
            made = {row.id: row for row in await connection.execute(_CREATE, parameters)}
            earlier = {}
            if len(made) < len(new):
                rows = await connection.execute(_BY_KEY, {name: parameters[name] for name in ("customers", "keys")})
                earlier = {(row.customer_id, row.idempotency_key): row for row in rows}
        return [_order(made.get(order.id) or earlier[order.customer_id, order.key]) for order in orders]

    async def _get_all(self, order_ids: Sequence[UUID]) -> Sequence[Order | None]:
        async with self._database.autocommit.connect() as connection:
            rows = await connection.execute(_GET, {"ids": list(set(order_ids))})
            orders = {row.id: _order(row) for row in rows}
        return [orders.get(order_id) for order_id in order_ids]

    async def _of_customers(self, customer_ids: Sequence[str]) -> Sequence[Sequence[Order]]:
        orders: dict[str, list[Order]] = {customer_id: [] for customer_id in customer_ids}
        async with self._database.autocommit.connect() as connection:
            for row in await connection.execute(_LIST, {"customer_ids": list(orders)}):
                orders[row.customer_id].append(_order(row))
        return [orders[customer_id] for customer_id in customer_ids]


def _order(row: Any) -> Order:
    return Order(row.id, row.customer_id, Status(row.status), row.time_stamp, row.order_lines, row.attempt, row.trace)
