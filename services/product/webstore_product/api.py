"""The product service's HTTP: the contract's paths below /product, and what other services ask."""

from collections.abc import Sequence
from typing import Annotated, cast
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import Field

from webstore_chassis.auth import Auth
from webstore_chassis.coalesce import Coalescer
from webstore_chassis.problems import Conflict, Forbidden, NotFound, Unauthorized, id_in_path, responses
from webstore_chassis.schemas import Line, Money, Name, ProductNumber, Schema, StockQuantity, Text
from webstore_product.domain import OutOfStock
from webstore_product.store import NewProduct, NumberTaken, Product, Store


class Stock(Schema):
    """How much can still be sold."""

    quantity: StockQuantity


class ProductInput(Schema):
    """What a caller says of a product."""

    product_number: ProductNumber
    name: Annotated[Name, Field(examples=["laptop"])]
    description: Annotated[Text, Field(examples=["15 inches"])] = ""
    price: Money
    stock: Stock

    def row(self) -> NewProduct:
        """As the store takes it."""
        return NewProduct(
            product_number=self.product_number,
            name=self.name,
            description=self.description,
            price=self.price,
            stock=self.stock.quantity,
        )


class StockOutput(Schema):
    """How much can still be sold."""

    quantity: int = Field(examples=[100])


class ProductOutput(Schema):
    """A product."""

    id: UUID
    product_number: str
    name: str
    description: str
    price: Money
    stock: StockOutput


class Products(Schema):
    """All products."""

    products: list[ProductOutput]


class Reservation(Schema):
    """What an attempt to place an order wants set aside."""

    attempt: int = Field(ge=0)
    lines: list[Line] = Field(min_length=1)


ProductId = Annotated[
    str, Path(max_length=100, description="A product's id", examples=["3f0c1b58-7a55-4c43-9f5b-7d6c1f1f2c11"])
]
# One path in OpenAPI needs one name, though GET takes the number where the others take the id: so the contract has it.
NumberInPath = Annotated[
    str, Path(alias="product_id", max_length=100, description="Here the product's number", examples=["001"])
]


def routes(store: Store, auth: Auth) -> list[APIRouter]:
    """The service's routes."""
    router = APIRouter(tags=["product"])

    # First, because routes are looked through in this order, and this one is asked for the most.
    @router.get("/product/{product_id}", response_model=int, responses=responses(NotFound))
    async def stock_of_product(product_number: NumberInPath) -> Response:
        """How much of a product can still be sold."""
        quantity = await store.stock(product_number) if "\x00" not in product_number else None
        if quantity is None:
            raise NotFound(f"There is no product with the number {product_number}. GET /product lists them all.")
        return Response(str(quantity), media_type="application/json")

    async def list_once(callers: Sequence[None]) -> Sequence[bytes]:
        products = Products.model_validate({"products": await store.all()})
        return [products.model_dump_json(by_alias=True).encode()] * len(callers)

    listed = Coalescer(list_once)

    @router.get("/product", response_model=Products, responses=responses())
    async def list_products() -> Response:
        """All products, by number."""
        return Response(await listed(None), media_type="application/json")

    @router.post(
        "/product",
        status_code=201,
        response_model=ProductOutput,
        dependencies=auth.staff,
        responses=responses(Conflict, Unauthorized, Forbidden),
    )
    async def create_product(product: ProductInput) -> Product:
        """Adds a product. Its number must be new."""
        try:
            product_id = await store.create(product.row())
        except NumberTaken:
            raise _taken(product.product_number) from None
        return cast("Product", {"id": product_id, **product.model_dump()})

    @router.post(
        "/product/{product_id}",
        status_code=201,
        response_model=ProductOutput,
        dependencies=auth.staff,
        responses=responses(NotFound, Conflict, Unauthorized, Forbidden),
    )
    async def update_product(product_id: ProductId, product: ProductInput) -> Product:
        """Replaces all that is said of a product. The stock becomes what can still be sold: reservations are not in
        it.
        """
        try:
            updated = await store.update(id_in_path(product_id, _unknown), product.row())
        except NumberTaken:
            raise _taken(product.product_number) from None
        if updated is None:
            raise _unknown(product_id)
        return updated

    @router.delete(
        "/product/{product_id}", dependencies=auth.staff, responses=responses(NotFound, Unauthorized, Forbidden)
    )
    async def delete_product(product_id: ProductId) -> None:
        """Takes a product out of the store. Orders that have it keep their lines; carts that have it cannot be
        placed.
        """
        if not await store.delete(id_in_path(product_id, _unknown)):
            raise _unknown(product_id)

    internal = APIRouter(prefix="/internal", include_in_schema=False, dependencies=auth.internal)

    @internal.put("/reservations/{order_id}")
    async def reserve(order_id: UUID, reservation: Reservation) -> None:
        lines = [(line.product_number, line.quantity) for line in reservation.lines]
        try:
            await store.reserve(order_id, reservation.attempt, lines)
        except OutOfStock as error:
            short = [
                {"productNumber": s.product_number, "wanted": s.wanted, "inStock": s.in_stock} for s in error.shortages
            ]
            raise Conflict(f"{error}.", shortages=short) from None

    return [router, internal]


def _unknown(product_id: str) -> NotFound:
    return NotFound(f"There is no product with the id {product_id}. GET /product lists them all.")


def _taken(number: str) -> Conflict:
    return Conflict(f"There is a product with the number {number} already. Update that one, or choose another number.")
