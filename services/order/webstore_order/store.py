"""Orders in PostgreSQL."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text

from webstore_chassis import telemetry
from webstore_chassis.coalesce import Coalescer
from webstore_chassis.database import Database
from webstore_chassis.events import Event
from webstore_chassis.journal import Journal
from webstore_order.domain import Lines, Order, Status, stream

_COLUMNS = "id, customer_id, status, created_at AS time_stamp, lines AS order_lines, attempt, trace"
_CREATE = text(f"""
INSERT INTO customer_order (customer_id, idempotency_key, lines, trace)
VALUES (:customer_id, :idempotency_key, CAST(:lines AS jsonb), CAST(:trace AS jsonb))
ON CONFLICT (customer_id, idempotency_key) DO NOTHING RETURNING {_COLUMNS}
""")
_BY_KEY = text(
    f"SELECT {_COLUMNS} FROM customer_order WHERE customer_id = :customer_id AND idempotency_key = :idempotency_key"
)
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


class Store:
    """The queries of the order service."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal
        self._of_customer = Coalescer(self._of_customers)
        self._get = Coalescer(self._get_all)

    async def create(self, customer_id: str, lines: Lines, idempotency_key: str | None) -> Order:
        """Creates an order; with a key that was used before, returns the order that it made then.

        Raises:
            KeyReused: that order has other lines.
        """
        key = {"customer_id": customer_id, "idempotency_key": idempotency_key}
        parameters = {**key, "lines": json.dumps(lines), "trace": json.dumps(telemetry.inject())}
        async with self._database.autocommit.connect() as connection:
            row = (await connection.execute(_CREATE, parameters)).one_or_none()
            if row is None:
                row = (await connection.execute(_BY_KEY, key)).one()
        order = _order(row)
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
        async with self._database.engine.begin() as connection:
            if (await connection.execute(_PLACE, {"id": order.id, "attempt": order.attempt})).one_or_none() is None:
                return False
            await self._journal.append_within(connection, [Event(stream(order.id), 1, "order-placed", order.placed())])
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
