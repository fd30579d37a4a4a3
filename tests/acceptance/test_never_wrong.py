"""What must never be wrong, a test for each property. Here everything stays up; the same properties while processes
are killed and servers are down: `tests/faults`.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.databases import Databases
from tests.service.conftest import running_store

LINE = {"productNumber": "001", "quantity": 1}


class Shop:
    """A store that runs, its customers, and its databases."""

    def __init__(self, client: httpx.AsyncClient, url: str, data: Path) -> None:
        self.client, self.data = client, data
        self._url = url

    def customer(self, customer_id: str | None = None) -> "Customer":
        return Customer(self.client, customer_id or f"c-{uuid4().hex[:8]}")

    async def product(self, quantity: int) -> str:
        """Adds a product, and returns its number."""
        number = f"p-{uuid4().hex[:8]}"
        new = {"productNumber": number, "name": "thing", "price": 1, "stock": {"quantity": quantity}}
        assert (await self.client.post("/product", json=new)).status_code == 201
        return number

    async def stock(self, number: str) -> int:
        return int((await self.client.get(f"/product/{number}")).text)

    def rows(self, database: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connect(database) as connection:
            return connection.execute(query, values).fetchall()  # type: ignore[call-overload, no-any-return]

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(make_url(self._url).set(database=database).render_as_string(hide_password=False))

    @contextmanager
    def nobody_writes(self, database: str, table: str) -> Iterator[None]:
        """A table that keeps every writer waiting."""
        with self.connect(database) as connection:
            connection.execute(f"LOCK TABLE {table} IN SHARE MODE")  # type: ignore[call-overload]
            yield

    async def until(self, reached: Any) -> None:
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(reached):
                await asyncio.sleep(0.02)


class Customer:
    """A customer of the store."""

    def __init__(self, client: httpx.AsyncClient, customer_id: str) -> None:
        self._client, self.id = client, customer_id

    async def _call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self._client.request(method, path, json=body, headers={"Customer-ID": self.id})

    async def add(self, number: str, quantity: int = 1, cart: str = "900") -> httpx.Response:
        return await self._call(
            "POST", f"/shopping-command/add-to-cart/{cart}", {"productNumber": number, "quantity": quantity}
        )

    async def update(self, number: str, quantity: int, cart: str = "900") -> httpx.Response:
        return await self._call(
            "POST", f"/shopping-command/update-cart/{cart}", {"productNumber": number, "quantity": quantity}
        )

    async def remove(self, number: str, cart: str = "900") -> httpx.Response:
        return await self._call("DELETE", f"/shopping-command/{cart}/{number}")

    async def check_out(self, cart: str = "900") -> httpx.Response:
        return await self._call("POST", f"/shopping-query/{cart}/checkout")

    async def order(self, number: str, quantity: int = 1) -> str:
        lines = {"orderLines": [{"productNumber": number, "quantity": quantity}]}
        return str((await self._call("POST", "/order", lines)).json()["id"])

    async def place(self, order_id: str) -> httpx.Response:
        return await self._call("POST", f"/order/{order_id}/place")

    async def orders(self) -> list[dict[str, Any]]:
        return list((await self._call("GET", "/order")).json()["orders"])

    async def cart(self, cart: str = "900") -> dict[str, int]:
        carts = (await self._call("GET", "/shopping-query/carts/")).json()["carts"]
        lines = next((c["cartLines"] for c in carts if c["cartNumber"] == cart), [])
        return {line["productNumber"]: line["quantity"] for line in lines}


def lines_of(order: dict[str, Any]) -> dict[str, int]:
    return {line["productNumber"]: line["quantity"] for line in order["orderLines"]}


@asynccontextmanager
async def opened(databases: Databases, data: Path, **settings: Any) -> AsyncIterator[Shop]:
    # However slow the machine, a service that works is not taken for one that is down.
    patient = {"http_deadline_seconds": 60}
    async with running_store(databases, data, **{**patient, **settings}) as (_, client):
        yield Shop(client, databases.url, data)


@pytest.fixture
async def shop(databases: Databases, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(databases, tmp_path) as shop:
        yield shop


async def test_checkout_sees_every_write_that_was_answered_before_it(shop: Shop) -> None:
    one, other = await shop.product(100), await shop.product(100)

    async def buy(ann: Customer, quantity: int) -> None:
        await ann.add(one, 10)
        await ann.add(other, 5)
        assert (await ann.remove(one)).status_code == 200
        assert (await ann.update(other, quantity)).status_code == 200
        order = await ann.check_out()
        assert lines_of(order.json()) == {other: quantity}
        assert await ann.cart() == {}

    await asyncio.gather(*(buy(shop.customer(), quantity) for quantity in range(1, 21)))


async def test_one_checkout_one_order_whatever_is_doubled(shop: Shop) -> None:
    number, ann = await shop.product(100), shop.customer()
    await ann.add(number, 3)
    answers = await asyncio.gather(*(ann.check_out() for _ in range(20)))
    (order,) = await ann.orders()
    assert lines_of(order) == {number: 3}
    # Who came too late hears which order it became.
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert {a.json()["id" if a.status_code == 200 else "orderId"] for a in answers} == {order["id"]}


async def test_one_checkout_one_order_whatever_is_retried_after_its_answer_was_lost(
    databases: Databases, tmp_path: Path
) -> None:
    # The crash in the place of the lost answer: tests/faults.
    async with opened(databases, tmp_path, http_deadline_seconds=0.3, breaker_failures=100) as shop:
        number, ann = await shop.product(100), shop.customer()
        await ann.add(number, 3)
        with shop.nobody_writes("order", "customer_order"):
            unanswered = await ann.check_out()
            assert (unanswered.status_code, await ann.cart()) == (503, {number: 3})
            assert int(unanswered.headers["retry-after"]) >= 1
        answer = await ann.check_out()
        assert answer.status_code == 200
        assert [order["id"] for order in await ann.orders()] == [answer.json()["id"]]
        assert await ann.cart() == {}


async def test_one_checkout_one_order_whoever_finishes_it(databases: Databases, tmp_path: Path) -> None:
    settings = {"http_deadline_seconds": 0.3, "sweep_seconds": 0.1, "sweep_age_seconds": 0.2, "breaker_failures": 100}
    async with opened(databases, tmp_path, **settings) as shop:
        number, ann = await shop.product(100), shop.customer()
        await ann.add(number, 3)
        with shop.nobody_writes("order", "customer_order"):
            assert (await ann.check_out()).status_code == 503
        # Nobody asks again: the sweep finishes what was begun.
        await shop.until(lambda: shop.rows("shopping_query", "SELECT 1 FROM checkout WHERE order_id IS NOT NULL"))
        (order,) = await ann.orders()
        assert lines_of(order) == {number: 3}
        late = await ann.check_out()
        assert (late.status_code, late.json()["orderId"]) == (409, order["id"])


async def test_nothing_added_during_a_checkout_is_lost_or_bought_unseen(shop: Shop) -> None:
    kept, raised, new, dropped = [await shop.product(100) for _ in range(4)]
    ann = shop.customer()
    for number in (kept, raised, dropped):
        await ann.add(number, 1)
    with shop.nobody_writes("order", "customer_order"):
        checkout = asyncio.create_task(ann.check_out())
        await shop.until(lambda: shop.rows("shopping_query", "SELECT 1 FROM checkout WHERE customer_id = %s", ann.id))
        await ann.update(raised, 5)
        await ann.add(new, 2)
        await ann.remove(dropped)
    assert lines_of((await checkout).json()) == {kept: 1, raised: 1, dropped: 1}
    await shop.until(lambda: checked_out_events(shop, ann) == 1)
    assert await ann.cart() == {raised: 5, new: 2}
    assert lines_of((await ann.check_out()).json()) == {raised: 5, new: 2}


def checked_out_events(shop: Shop, customer: Customer) -> int:
    query = "SELECT count(*) FROM journal WHERE type = 'cart-checked-out' AND stream = %s"
    return int(shop.rows("shopping_command", query, f"cart/{customer.id}/900")[0][0])


async def test_nothing_added_during_checkouts_is_lost_whatever_the_order_in_which_it_comes(shop: Shop) -> None:
    number, ann = await shop.product(10_000), shop.customer()
    await ann.add(number)

    async def add() -> list[int]:
        return [(await ann.add(number, quantity)).status_code for quantity in range(1, 11)]

    async def check_out() -> set[int]:
        return {(await ann.check_out()).status_code for _ in range(10)}

    adders = [asyncio.create_task(add()) for _ in range(4)]
    buyers = [asyncio.create_task(check_out()) for _ in range(2)]
    assert [code for codes in await asyncio.gather(*adders) for code in codes] == [200] * 40
    assert set.union(*await asyncio.gather(*buyers)) <= {200, 409}
    await ann.check_out()
    bought = sum(lines_of(order)[number] for order in await ann.orders())
    assert bought == 1 + 4 * sum(range(1, 11))
    assert await ann.cart() == {}


async def test_two_hundred_buyers_of_the_last_ten_items_make_ten_orders(shop: Shop) -> None:
    number = await shop.product(10)
    buyers = [shop.customer() for _ in range(200)]
    orders = [await buyer.order(number) for buyer in buyers]
    answers = await asyncio.gather(*(b.place(order) for b, order in zip(buyers, orders, strict=True)))
    assert Counter(answer.status_code for answer in answers) == {200: 10, 409: 190}
    assert {answer.json()["status"] for answer in answers if answer.status_code == 200} == {"PLACED"}
    assert await shop.stock(number) == 0
    assert shop.rows("product", "SELECT 1 FROM product WHERE stock < 0") == []


async def test_stock_is_never_negative_never_oversold_and_no_reservation_leaks(
    databases: Databases, tmp_path: Path
) -> None:
    # The sweep takes every reservation for left behind at once, so it withdraws what is only just being placed.
    async with opened(databases, tmp_path, sweep_seconds=0.01, sweep_age_seconds=0.001) as shop:
        number = await shop.product(30)
        buyers = [shop.customer() for _ in range(60)]

        async def buy(buyer: Customer) -> int:
            order_id = await buyer.order(number)
            while (answer := await buyer.place(order_id)).status_code == 503:
                pass
            return answer.status_code

        answers = Counter(await asyncio.gather(*map(buy, buyers)))
        placed = [o for buyer in buyers for o in await buyer.orders() if o["status"] == "PLACED"]
        await shop.until(lambda: not shop.rows("product", "SELECT 1 FROM reservation WHERE NOT settled"))
        assert answers == {200: len(placed), 409: 60 - len(placed)}
        # An attempt that was withdrawn may have put off another buyer, but nothing is sold twice, and nothing is gone.
        assert await shop.stock(number) + len(placed) == 30
        assert shop.rows("product", "SELECT count(*) FROM reservation") == [(len(placed),)]


async def test_a_reservation_goes_back_to_its_own_product_whatever_its_number_is_by_then(
    databases: Databases, tmp_path: Path
) -> None:
    async with opened(databases, tmp_path, sweep_seconds=0.1, sweep_age_seconds=0.1) as shop:
        number = await shop.product(10)
        product = {"name": "thing", "price": 1, "stock": {"quantity": 10}}
        (product_id,) = shop.rows("product", "SELECT id FROM product WHERE product_number = %s", number)[0]
        # A reservation whose order was never placed, of the product before it got its new number.
        with shop.connect("product") as connection:
            connection.execute(
                "INSERT INTO reservation (order_id, attempt, lines) VALUES (%s, 0, %s)",
                [uuid4(), json.dumps({str(product_id): 4})],
            )
            connection.execute("UPDATE product SET product_number = 'renumbered', stock = 6")
        assert (await shop.client.post("/product", json={**product, "productNumber": number})).status_code == 201
        await shop.until(lambda: not shop.rows("product", "SELECT 1 FROM reservation"))
        assert (await shop.stock("renumbered"), await shop.stock(number)) == (10, 10)


async def test_a_customer_sees_and_acts_on_its_own_carts_and_orders_only(shop: Shop) -> None:
    number, ann, eve = await shop.product(100), shop.customer(), shop.customer()
    await ann.add(number, 3)
    await eve.add(number, 1)
    await shop.until(
        lambda: shop.rows("shopping_query", "SELECT 1 FROM read_model.cart WHERE customer_id = %s", eve.id)
    )
    order_id = await ann.order(number)
    assert (await eve.place(order_id)).status_code == 404
    assert await eve.orders() == []
    assert await eve.cart() == {number: 1}
    assert (await eve.remove(number)).status_code == 200
    assert (await eve.check_out()).status_code == 409
    assert (await eve.remove(number, cart="901")).status_code == 404
    assert lines_of((await ann.check_out()).json()) == {number: 3}
    missing = await eve.place(str(uuid4()))
    others = await eve.place(order_id)
    assert missing.json()["title"] == others.json()["title"]


async def test_two_carts_of_one_customer_are_two_carts(shop: Shop) -> None:
    one, other, ann = await shop.product(100), await shop.product(100), shop.customer()
    await ann.add(one, 1, cart="1")
    await ann.add(other, 2, cart="2")
    assert lines_of((await ann.check_out("1")).json()) == {one: 1}
    assert lines_of((await ann.check_out("2")).json()) == {other: 2}


async def test_an_event_is_published_if_and_only_if_its_change_is_committed(
    databases: Databases, tmp_path: Path
) -> None:
    # With kill -9 anywhere: tests/faults.
    async with opened(databases, tmp_path) as shop:
        number = await shop.product(20)
        buyers = [shop.customer() for _ in range(40)]
        orders = [await buyer.order(number) for buyer in buyers]
        await asyncio.gather(*(b.place(o) for b, o in zip(buyers, orders, strict=True) for _ in range(3)))
        placed = {row[0] for row in shop.rows("order", "SELECT id FROM customer_order WHERE status = 'PLACED'")}
        events = [UUID(row[0]) for row in shop.rows("order", "SELECT data->>'orderId' FROM journal")]
        assert len(placed) == 20
        assert sorted(events) == sorted(placed)
        await shop.until(lambda: len(shop.rows("customer", "SELECT 1 FROM mail")) == 20)
        assert {row[0] for row in shop.rows("customer", "SELECT order_id FROM mail")} == placed
        await shop.until(lambda: not shop.rows("product", "SELECT 1 FROM reservation WHERE NOT settled"))
        assert not (tmp_path / "dead-letters.jsonl").exists()


async def test_an_e_mail_a_placed_order_not_none_not_two_for_one_crash_free_run(shop: Shop) -> None:
    # A mail server that is down, busy or unwilling: tests/service/test_mailer.py. Crashes: tests/faults.
    number = await shop.product(100)
    placed = set()
    for _ in range(5):
        person = {"firstName": "Ann", "lastName": "Smith", "email": "ann@example.com"}
        ann = shop.customer((await shop.client.post("/customer", json=person)).json()["id"])
        order_id = await ann.order(number)
        for _ in range(2):
            assert (await ann.place(order_id)).status_code == 200
        await ann.order(number)  # and one that is not placed
        placed.add(f"order-{order_id}.eml")
    mails = shop.data / "mails"
    await shop.until(lambda: mails.exists() and placed <= {mail.name for mail in mails.iterdir()})
    assert {mail.name for mail in mails.glob("*.eml")} == placed
    assert shop.rows("customer", "SELECT max(attempts) FROM mail WHERE state = 'sent'") == [(1,)]


async def test_out_of_stock_is_409_and_names_what_is_short(shop: Shop) -> None:
    number, ann = await shop.product(2), shop.customer()
    assert (await ann.add(number, 3)).status_code == 409
    answer = await ann.place(await ann.order(number, 3))
    assert answer.status_code == 409
    assert answer.json()["shortages"] == [{"productNumber": number, "wanted": 3, "inStock": 2}]
    assert await shop.stock(number) == 2


async def test_bad_input_is_refused_with_problem_details_never_a_500(shop: Shop) -> None:
    # Every path, with generated input: tests/service/test_openapi.py and test_bad_input.py.
    answer = await shop.client.post("/order", json={"orderLines": []}, headers={"Customer-ID": "ann"})
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["title"]) == (422, 422, "Invalid request")
    assert problem["errors"][0]["location"] == "body.orderLines"
    assert set(problem) >= {"type", "title", "status", "detail"}
