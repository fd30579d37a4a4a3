"""Customers and waiting mails in PostgreSQL.

A mail holds no address: it is looked up when the mail is sent, so a customer who is deleted is forgotten here too.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from webstore_chassis.coalesce import Coalescer
from webstore_chassis.database import Database
from webstore_customer.domain import Mail, Recipient


class NewCustomer(TypedDict):
    """What a caller says of a customer."""

    first_name: str
    last_name: str
    email: str
    phone_number: str | None
    address: Mapping[str, str | None] | None


class Customer(NewCustomer):
    """A row of `customer`, as the API shows it."""

    id: str


class IdTaken(Exception):
    """There is a customer with this id."""


_COLUMNS = "id, first_name, last_name, email, phone_number, address"
_LIST = text(f"SELECT {_COLUMNS} FROM customer ORDER BY created_at, id")
_GET = text(f"SELECT {_COLUMNS} FROM customer WHERE id = :id")
_CREATE = text(f"""
INSERT INTO customer (id, first_name, last_name, email, phone_number, address)
VALUES (:id, :first_name, :last_name, :email, :phone_number, CAST(:address AS jsonb)) RETURNING {_COLUMNS}
""")
_UPDATE = text(f"""
UPDATE customer SET first_name = :first_name, last_name = :last_name, email = :email, phone_number = :phone_number,
       address = CAST(:address AS jsonb)
WHERE id = :id RETURNING {_COLUMNS}
""")
_DELETE = text("DELETE FROM customer WHERE id = :id RETURNING id")

# The primary key is the order: an event that comes again finds its mail there.
_ADD_MAILS = text("""
INSERT INTO mail (order_id, customer_id, lines, trace)
SELECT * FROM unnest(CAST(:orders AS uuid[]), CAST(:customers AS text[]), CAST(:lines AS jsonb[]),
                     CAST(:traces AS jsonb[])) ORDER BY 1
ON CONFLICT (order_id) DO NOTHING
""")
# Taken for half a minute, and held on to while it is being sent, without a transaction open meanwhile: one of these
# would hold up every relay of this database server. Who crashes while sending leaves the mail to the next.
_TAKE_MAIL = text("""
UPDATE mail SET attempts = attempts + 1, next_attempt_at = now() + interval '30 seconds'
WHERE order_id = (
    SELECT order_id FROM mail WHERE state = 'waiting' AND next_attempt_at <= now()
    ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING order_id, customer_id, lines, attempts, trace
""")
_HOLD_MAIL = text("UPDATE mail SET next_attempt_at = now() + interval '30 seconds' WHERE order_id = :order_id")
_END_MAIL = text("UPDATE mail SET state = :state, last_error = :error WHERE order_id = :order_id")
_POSTPONE_MAIL = text("""
UPDATE mail SET next_attempt_at = now() + make_interval(secs => :seconds), last_error = :error
WHERE order_id = :order_id
""")
_NEXT_MAIL = text("SELECT extract(epoch FROM min(next_attempt_at) - now())::float FROM mail WHERE state = 'waiting'")


class Store:
    """The queries of the customer service."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._list = Coalescer(self._list_once)

    async def all(self) -> Sequence[Customer]:
        """All customers, oldest first."""
        return await self._list(None)

    async def get(self, customer_id: str) -> Customer | None:
        """A customer; None if there is none with this id."""
        return await self._one(_GET, {"id": customer_id})

    async def create(self, customer_id: str, customer: NewCustomer) -> Customer:
        """Adds a customer.

        Raises:
            IdTaken: there is one with this id.
        """
        try:
            created = await self._one(_CREATE, {"id": customer_id, **_parameters(customer)})
        except IntegrityError:
            raise IdTaken from None
        assert created is not None  # noqa: S101 - an INSERT returns its row
        return created

    async def update(self, customer_id: str, customer: NewCustomer) -> Customer | None:
        """Replaces what is said of a customer; None if there is none with this id."""
        return await self._one(_UPDATE, {"id": customer_id, **_parameters(customer)})

    async def delete(self, customer_id: str) -> bool:
        """Forgets a customer; False if there is none with this id."""
        async with self._database.autocommit.connect() as connection:
            return (await connection.execute(_DELETE, {"id": customer_id})).one_or_none() is not None

    async def add_mails(self, mails: Sequence[Mail]) -> None:
        """Has these mails sent, each order's once."""
        parameters = {
            "orders": [mail.order_id for mail in mails],
            "customers": [mail.customer_id for mail in mails],
            "lines": [json.dumps(mail.lines) for mail in mails],
            "traces": [json.dumps(mail.trace) for mail in mails],
        }
        async with self._database.autocommit.connect() as connection:
            await connection.execute(_ADD_MAILS, parameters)

    async def take_mail(self) -> Mail | None:
        """A mail that is due, which nobody else gets for half a minute; None if none is due."""
        async with self._database.autocommit.connect() as connection:
            row = (await connection.execute(_TAKE_MAIL)).one_or_none()
        return None if row is None else Mail(row.order_id, row.customer_id, row.lines, row.attempts, row.trace)

    async def hold_mail(self, order_id: UUID) -> None:
        """Has nobody else get a mail that was taken, for another half a minute."""
        async with self._database.autocommit.connect() as connection:
            await connection.execute(_HOLD_MAIL, {"order_id": order_id})

    async def recipient(self, customer_id: str) -> Recipient | None:
        """Whom to write to; None if the customer is not known (any more)."""
        customer = await self.get(customer_id)
        return (
            None
            if customer is None
            else Recipient(f"{customer['first_name']} {customer['last_name']}", customer["email"])
        )

    async def end_mail(self, order_id: UUID, state: str, error: str | None = None) -> None:
        """Notes that a mail is `sent`, or `undeliverable` and why."""
        async with self._database.autocommit.connect() as connection:
            await connection.execute(_END_MAIL, {"order_id": order_id, "state": state, "error": error})

    async def postpone_mail(self, order_id: UUID, seconds: float, error: str) -> None:
        """Has a mail tried again later."""
        async with self._database.autocommit.connect() as connection:
            await connection.execute(_POSTPONE_MAIL, {"order_id": order_id, "seconds": seconds, "error": error})

    async def seconds_to_next_mail(self) -> float | None:
        """When the next mail is due; None if none waits."""
        async with self._database.autocommit.connect() as connection:
            seconds: float | None = (await connection.execute(_NEXT_MAIL)).scalar_one()
        return seconds

    async def _one(self, statement: Any, parameters: Mapping[str, Any]) -> Customer | None:
        async with self._database.autocommit.connect() as connection:
            row = (await connection.execute(statement, parameters)).mappings().one_or_none()
        return None if row is None else Customer(**row)  # type: ignore[typeddict-item]

    async def _list_once(self, callers: Sequence[None]) -> Sequence[Sequence[Customer]]:
        async with self._database.autocommit.connect() as connection:
            customers = [Customer(**row) for row in (await connection.execute(_LIST)).mappings()]  # type: ignore[typeddict-item]
        return [customers] * len(callers)


def _parameters(customer: NewCustomer) -> dict[str, Any]:
    return {**customer, "address": None if customer["address"] is None else json.dumps(customer["address"])}
