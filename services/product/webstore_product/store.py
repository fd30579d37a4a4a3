"""Products and reservations in PostgreSQL.

`product.stock` is what can still be sold: a reservation takes its quantities out at once, and puts them back if it
is released.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import Any, TypedDict, cast
from uuid import UUID

from sqlalchemy import Row, RowMapping, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from webstore_chassis.coalesce import Coalescer
from webstore_chassis.database import Database
from webstore_product.domain import OutOfStock, Shortage, serve, wanted


class Product(TypedDict):
    """A row of `product`, as the API shows it."""

    id: UUID
    product_number: str
    name: str
    description: str
    price: Decimal
    stock: dict[str, int]


class NewProduct(TypedDict):
    """What a caller says of a product."""

    product_number: str
    name: str
    description: str
    price: Decimal
    stock: int


@dataclass(frozen=True, slots=True)
class _Reservation:
    order_id: UUID
    attempt: int
    wanted: Mapping[str, int]


class NumberTaken(Exception):
    """Another product has this number."""


_COLUMNS = "id, product_number, name, description, price, jsonb_build_object('quantity', stock) AS stock"
_LIST = text(f"SELECT {_COLUMNS} FROM product ORDER BY product_number")
_STOCK = text("SELECT product_number, stock FROM product WHERE product_number = ANY(:numbers)")
_CREATE = text("""
INSERT INTO product (product_number, name, description, price, stock)
SELECT * FROM unnest(CAST(:numbers AS text[]), CAST(:names AS text[]), CAST(:descriptions AS text[]),
                     CAST(:prices AS numeric[]), CAST(:stocks AS integer[]))
ON CONFLICT (product_number) DO NOTHING RETURNING id, product_number
""")
_UPDATE = text(f"""
UPDATE product SET product_number = :product_number, name = :name, description = :description,
       price = :price, stock = :stock
WHERE id = :id RETURNING {_COLUMNS}
""")
_DELETE = text("DELETE FROM product WHERE id = :id RETURNING id")

_RESERVE = text("""
INSERT INTO reservation (order_id, attempt, lines)
SELECT *, '{}' FROM unnest(CAST(:order_ids AS uuid[]), CAST(:attempts AS integer[])) ORDER BY 1
ON CONFLICT (order_id) DO UPDATE SET attempt = greatest(reservation.attempt, excluded.attempt)
RETURNING order_id, xmax = 0 AS is_new
""")
# In one order for everybody, so that two orders never wait for each other.
_LOCK_WANTED = text("""
SELECT id, product_number, stock FROM product WHERE product_number = ANY(:numbers) ORDER BY id FOR UPDATE
""")
# Here and below, `= ANY` beside a join has the planner use the index, see tests/service/test_plans.py.
_SERVE = text("""
WITH served AS (
    UPDATE reservation SET lines = CAST(new.lines AS jsonb)
    FROM unnest(CAST(:served AS uuid[]), CAST(:lines AS text[])) AS new (order_id, lines)
    WHERE reservation.order_id = new.order_id AND reservation.order_id = ANY(:served)
), refused AS (DELETE FROM reservation WHERE order_id = ANY(:refused))
UPDATE product SET stock = new.stock FROM unnest(CAST(:ids AS uuid[]), CAST(:stock AS integer[])) AS new (id, stock)
WHERE product.id = new.id AND product.id = ANY(CAST(:ids AS uuid[]))
""")
_LOCK_STOCK = text("SELECT FROM product WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE")
_PUT_BACK = text("""
UPDATE product SET stock = stock + CAST(line.value AS integer)
FROM jsonb_each_text(CAST(:lines AS jsonb)) AS line
WHERE id = CAST(line.key AS uuid) AND id = ANY(CAST(:ids AS uuid[]))
""")
# In the order of `_RESERVE`, so that the two never wait for each other.
_SETTLE = text("""
WITH known AS MATERIALIZED (
    SELECT order_id FROM reservation WHERE order_id = ANY(:order_ids) ORDER BY order_id FOR UPDATE
)
UPDATE reservation SET settled = true FROM known
WHERE reservation.order_id = known.order_id AND reservation.order_id = ANY(:order_ids)
RETURNING reservation.order_id
""")
# Not the oldest: a hundred of which order cannot tell would keep all others from it.
_UNSETTLED = text("""
SELECT order_id, attempt FROM reservation
WHERE NOT settled AND reserved_at < now() - make_interval(secs => :age) ORDER BY random() LIMIT 100
""")
_RELEASE = text("""
DELETE FROM reservation WHERE order_id = :order_id AND attempt <= :attempt AND NOT settled RETURNING lines
""")
# A settled reservation is kept only to recognise an event that comes again.
_FORGET = text("DELETE FROM reservation WHERE settled AND reserved_at < now() - interval '30 days'")


class Store:
    """The queries of the product service; many callers' reads and inserts at one moment are one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stock = Coalescer(self._stock_of)
        self._create = Coalescer(self._create_all)
        self._reserve = Coalescer(self._reserve_all)

    async def all(self) -> Sequence[Product]:
        """All products, by number."""
        async with self._database.autocommit.connect() as connection:
            return [_product(row) for row in (await connection.execute(_LIST)).mappings()]

    async def stock(self, product_number: str) -> int | None:
        """What can still be sold of a product; None if there is no such product."""
        return await self._stock(product_number)

    async def create(self, product: NewProduct) -> UUID:
        """Adds a product and returns its id.

        Raises:
            NumberTaken: there is one with its number.
        """
        product_id = await self._create(product)
        if product_id is None:
            raise NumberTaken
        return product_id

    async def update(self, product_id: UUID, product: NewProduct) -> Product | None:
        """Replaces what is said of a product; None if there is none with this id.

        Raises:
            NumberTaken: another product has its new number.
        """
        async with self._database.autocommit.connect() as connection:
            try:
                row = (await connection.execute(_UPDATE, {"id": product_id, **product})).mappings().one_or_none()
            except IntegrityError:
                raise NumberTaken from None
        return None if row is None else _product(row)

    async def delete(self, product_id: UUID) -> bool:
        """Takes a product out of the store; False if there is none with this id."""
        async with self._database.autocommit.connect() as connection:
            return (await connection.execute(_DELETE, {"id": product_id})).one_or_none() is not None

    async def reserve(self, order_id: UUID, attempt: int, lines: Sequence[tuple[str, int]]) -> None:
        """Takes an order's lines out of the stock, once, whatever is repeated.

        Raises:
            OutOfStock: not all of them are there; nothing is reserved.
        """
        short = await self._reserve(_Reservation(order_id, attempt, wanted(lines)))
        if short:
            raise OutOfStock(short)

    async def settle(self, order_ids: Sequence[UUID]) -> set[UUID]:
        """Makes reservations final; returns those that there were."""
        async with self._database.autocommit.connect() as connection:
            return set((await connection.execute(_SETTLE, {"order_ids": list(order_ids)})).scalars())

    async def unsettled(self, age_seconds: float) -> list[tuple[UUID, int]]:
        """(order id, attempt) of reservations that are older than this and not settled, a hundred at the most."""
        async with self._database.autocommit.connect() as connection:
            return [(row.order_id, row.attempt) for row in await connection.execute(_UNSETTLED, {"age": age_seconds})]

    async def release(self, order_id: UUID, attempt: int) -> bool:
        """Puts a reservation's lines back, unless it was settled or renewed by a later attempt."""
        async with self._database.engine.begin() as connection:
            parameters = {"order_id": order_id, "attempt": attempt}
            lines = (await connection.execute(_RELEASE, parameters)).scalar_one_or_none()
            if lines is None:
                return False
            await connection.execute(_LOCK_STOCK, {"ids": list(lines)})
            await connection.execute(_PUT_BACK, {"ids": list(lines), "lines": json.dumps(lines)})
            return True

    async def forget_old(self) -> None:
        """Removes settled reservations whose events can no longer come again."""
        async with self._database.autocommit.connect() as connection:
            await connection.execute(_FORGET)

    async def _stock_of(self, numbers: Sequence[str]) -> Sequence[int | None]:
        async with self._database.autocommit.connect() as connection:
            rows = await connection.execute(_STOCK, {"numbers": list(set(numbers))})
            stock = {row.product_number: row.stock for row in rows}
        return [stock.get(number) for number in numbers]

    async def _reserve_all(self, attempts: Sequence[_Reservation]) -> Sequence[Sequence[Shortage]]:
        """For each attempt what it is short of, in one transaction however many there are: those who want the last
        items of a product stand in line for it once, and not one after the other.
        """
        # Two attempts for one order at a moment are one.
        orders = {attempt.order_id: attempt for attempt in sorted(attempts, key=attrgetter("attempt"))}
        refusals: dict[UUID, Sequence[Shortage]] = {}
        async with self._database.engine.begin() as connection:
            parameters = {"order_ids": list(orders), "attempts": [each.attempt for each in orders.values()]}
            rows = (await connection.execute(_RESERVE, parameters)).all()
            new = [orders[row.order_id] for row in rows if row.is_new]
            numbers = {number for each in new for number in each.wanted}
            if numbers:
                products = (await connection.execute(_LOCK_WANTED, {"numbers": list(numbers)})).all()
                refusals = await self._serve(connection, new, products)
        return [refusals.get(attempt.order_id, ()) for attempt in attempts]

    @staticmethod
    async def _serve(
        connection: AsyncConnection, new: Sequence[_Reservation], products: Sequence[Row[Any]]
    ) -> dict[UUID, Sequence[Shortage]]:
        stock = {row.product_number: row.stock for row in products}
        short_of = serve((each.wanted for each in new), stock)
        refusals: dict[UUID, Sequence[Shortage]] = dict(zip((each.order_id for each in new), short_of, strict=True))
        served = [each for each in new if not refusals[each.order_id]]
        # By the products' ids: their numbers may be others before a line is put back.
        ids = {row.product_number: str(row.id) for row in products}
        parameters = {
            "served": [each.order_id for each in served],
            "lines": [
                json.dumps({ids[number]: quantity for number, quantity in each.wanted.items()}) for each in served
            ],
            "refused": [order_id for order_id, short in refusals.items() if short],
            "ids": list(ids.values()),
            "stock": list(stock.values()),
        }
        await connection.execute(_SERVE, parameters)
        return refusals

    async def _create_all(self, products: Sequence[NewProduct]) -> Sequence[UUID | None]:
        # Two of one number in one batch: the first in line gets it.
        first: dict[str, NewProduct] = {}
        for product in products:
            first.setdefault(product["product_number"], product)
        # In one order for every replica, so that two never wait for each other.
        new = sorted(first.values(), key=itemgetter("product_number"))
        parameters = {
            "numbers": [product["product_number"] for product in new],
            "names": [product["name"] for product in new],
            "descriptions": [product["description"] for product in new],
            "prices": [product["price"] for product in new],
            "stocks": [product["stock"] for product in new],
        }
        async with self._database.autocommit.connect() as connection:
            ids = {row.product_number: row.id for row in await connection.execute(_CREATE, parameters)}
        return [
            ids.get(product["product_number"]) if first[product["product_number"]] is product else None
            for product in products
        ]


def _product(row: RowMapping) -> Product:
    return cast("Product", dict(row))
