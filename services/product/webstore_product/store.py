"""Products and reservations in PostgreSQL.

`product.stock` is what can still be sold: a reservation takes its quantities out at once, and puts them back if it
is released.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from operator import itemgetter
from typing import TypedDict, cast
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import IntegrityError

from webstore_chassis.coalesce import Coalescer
from webstore_chassis.database import Database
from webstore_product.domain import check_stock, wanted


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

# Lines are kept by the products' ids: numbers may be given to other products before they are released.
_RESERVE = text("""
INSERT INTO reservation (order_id, attempt, lines)
SELECT :order_id, :attempt, coalesce(jsonb_object_agg(product.id, wanted.quantity), '{}')
FROM unnest(CAST(:numbers AS text[]), CAST(:quantities AS integer[])) AS wanted (number, quantity)
JOIN product ON product_number = wanted.number
ON CONFLICT (order_id) DO UPDATE SET attempt = greatest(reservation.attempt, excluded.attempt)
RETURNING xmax = 0 AS is_new, lines
""")
# In one order for everybody, so that two orders never wait for each other.
_LOCK_STOCK = text("SELECT product_number, stock FROM product WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE")
_CHANGE_STOCK = text("""
UPDATE product SET stock = stock + :sign * CAST(change.value AS integer)
FROM jsonb_each_text(CAST(:lines AS jsonb)) AS change WHERE id = CAST(change.key AS uuid)
""")
_SETTLE = text("UPDATE reservation SET settled = true WHERE order_id = ANY(:order_ids) RETURNING order_id")
_UNSETTLED = text("""
SELECT order_id, attempt FROM reservation
WHERE NOT settled AND reserved_at < now() - make_interval(secs => :age) ORDER BY reserved_at LIMIT 100
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
        self._list = Coalescer(self._list_once)
        self._stock = Coalescer(self._stock_of)
        self._create = Coalescer(self._create_all)

    async def all(self) -> Sequence[Product]:
        """All products, by number."""
        return await self._list(None)

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
        quantities = wanted(lines)
        parameters = {
            "order_id": order_id,
            "attempt": attempt,
            "numbers": list(quantities),
            "quantities": list(quantities.values()),
        }
        async with self._database.engine.begin() as connection:
            reservation = (await connection.execute(_RESERVE, parameters)).one()
            if not reservation.is_new:
                return
            rows = await connection.execute(_LOCK_STOCK, {"ids": list(reservation.lines)})
            check_stock(quantities, {row.product_number: row.stock for row in rows})
            await connection.execute(_CHANGE_STOCK, {"lines": json.dumps(reservation.lines), "sign": -1})

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
            await connection.execute(_CHANGE_STOCK, {"lines": json.dumps(lines), "sign": 1})
            return True

    async def forget_old(self) -> None:
        """Removes settled reservations whose events can no longer come again."""
        async with self._database.autocommit.connect() as connection:
            await connection.execute(_FORGET)

    async def _list_once(self, callers: Sequence[None]) -> Sequence[Sequence[Product]]:
        async with self._database.autocommit.connect() as connection:
            products = [_product(row) for row in (await connection.execute(_LIST)).mappings()]
        return [products] * len(callers)

    async def _stock_of(self, numbers: Sequence[str]) -> Sequence[int | None]:
        async with self._database.autocommit.connect() as connection:
            rows = await connection.execute(_STOCK, {"numbers": list(set(numbers))})
            stock = {row.product_number: row.stock for row in rows}
        return [stock.get(number) for number in numbers]

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
