"""The customer service's HTTP: the contract's paths below /customer."""

from collections.abc import Sequence
from typing import Annotated, cast
from uuid import uuid4

from fastapi import APIRouter, Depends, Path
from pydantic import Field, StringConstraints

from webstore_chassis.auth import Auth, Principal
from webstore_chassis.problems import Conflict, Forbidden, NotFound, Unauthorized, responses
from webstore_chassis.schemas import Schema, Text
from webstore_customer.store import Customer, IdTaken, NewCustomer, Store

# One @ between characters that cannot end a header or begin a list (RFC 5322 allows more; no mailbox needs it).
EmailAddress = Annotated[
    str,
    StringConstraints(
        max_length=254, pattern=r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$"
    ),
    Field(examples=["ann@example.com"]),
]
# No line break: names stand in mail headers.
PersonName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f\u2028\u2029]*[^\x00-\x20\x7f\u2028\u2029][^\x00-\x1f\x7f\u2028\u2029]*$")]  # fmt: skip  # noqa: E501


class Address(Schema):
    """Where a customer lives."""

    street: Annotated[Text | None, Field(examples=["Main Street 1"])] = None
    city: Annotated[Text | None, Field(examples=["Springfield"])] = None
    zip: Annotated[Text | None, Field(examples=["12345"])] = None


class CustomerInput(Schema):
    """What a caller says of a customer."""

    first_name: Annotated[PersonName, Field(examples=["Ann"])]
    last_name: Annotated[PersonName, Field(examples=["Smith"])]
    email: EmailAddress
    phone_number: Annotated[Text | None, Field(max_length=50, examples=["555-0100"])] = None
    address: Address | None = None

    def row(self) -> NewCustomer:
        """As the store takes it."""
        return cast("NewCustomer", self.model_dump())


class CustomerOutput(CustomerInput):
    """A customer."""

    id: str = Field(examples=["3f0c1b58-7a55-4c43-9f5b-7d6c1f1f2c11"])


class Customers(Schema):
    """All customers, oldest first."""

    customers: list[CustomerOutput]


# In oidc mode it is the token's subject, which may be this long, and have slashes: hence `:path` in the routes.
CustomerId = Annotated[
    str, Path(max_length=255, description="A customer's id", examples=["3f0c1b58-7a55-4c43-9f5b-7d6c1f1f2c11"])
]


def routes(store: Store, auth: Auth) -> list[APIRouter]:
    """The service's routes. In oidc mode a customer sees itself only, and its id is its token's subject."""
    router = APIRouter(tags=["customer"], responses=responses(Unauthorized, Forbidden))
    Caller = Annotated[Principal, Depends(auth.caller)]

    @router.get("/customer", response_model=Customers, dependencies=auth.staff)
    async def list_customers() -> dict[str, Sequence[Customer]]:
        """All customers, oldest first."""
        return {"customers": await store.all()}

    @router.post("/customer", status_code=201, response_model=CustomerOutput, responses=responses(Conflict))
    async def create_customer(customer: CustomerInput, caller: Caller) -> Customer:
        """Adds a customer, and gives it its id."""
        customer_id = str(uuid4()) if caller.staff else caller.customer_id
        if customer_id is None:
            raise Unauthorized("The token names no subject, so there is no customer to add.")
        try:
            return await store.create(customer_id, customer.row())
        except IdTaken:
            raise Conflict(f"You are a customer already: update POST /customer/{customer_id} instead.") from None

    @router.get("/customer/{customer_id:path}", response_model=CustomerOutput, responses=responses(NotFound))
    async def get_customer(customer_id: CustomerId, caller: Caller) -> Customer:
        """One customer."""
        return _found(customer_id, await store.get(_visible(customer_id, caller)))

    @router.post(
        "/customer/{customer_id:path}", status_code=201, response_model=CustomerOutput, responses=responses(NotFound)
    )
    async def update_customer(customer_id: CustomerId, customer: CustomerInput, caller: Caller) -> Customer:
        """Replaces all that is said of a customer."""
        return _found(customer_id, await store.update(_visible(customer_id, caller), customer.row()))

    @router.delete("/customer/{customer_id:path}", responses=responses(NotFound))
    async def delete_customer(customer_id: CustomerId, caller: Caller) -> None:
        """Forgets a customer. Orders and carts stay, under the bare id; mails that still wait are not sent."""
        if not await store.delete(_visible(customer_id, caller)):
            raise _unknown(customer_id)

    return [router]


def _visible(customer_id: str, caller: Principal) -> str:
    """What is not the caller's is, to the caller, not there."""
    if "\x00" in customer_id or not (caller.staff or caller.customer_id == customer_id):
        raise _unknown(customer_id)
    return customer_id


def _found(customer_id: str, customer: Customer | None) -> Customer:
    if customer is None:
        raise _unknown(customer_id)
    return customer


def _unknown(customer_id: str) -> NotFound:
    return NotFound(f"There is no customer with the id {customer_id}.")
