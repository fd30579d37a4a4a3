"""Customers who shop without a pause, each in all five services, and who remember every answer."""

import asyncio
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from tests.e2e.cluster import Store, eventually

PAUSE = 0.1
STOCK = 1_000_000
# What a gateway answers for a service that is not there, and a service for one that it needs.
AWAY = (502, 503, 504)


@dataclass
class Load:
    """Shops in a store while the block of its `with` runs.

    Args:
        strict: each request is sent once. Otherwise a request that finds its service away is sent again until
            it is answered, as a customer would.
    """

    store: Store
    shoppers: int = 4
    strict: bool = True
    answers: Counter[str] = field(default_factory=Counter)
    away: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    orders: int = 0

    def __post_init__(self) -> None:
        self.number = f"load-{secrets.token_hex(4)}"
        self._customers: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._shop()), name="load")

    def __enter__(self) -> Self:
        product = {"productNumber": self.number, "name": "pen", "price": 1, "stock": {"quantity": STOCK}}
        with self.store.client() as client:
            assert client.post("/product", json=product).status_code == 201
        self._thread.start()
        eventually("the first order is placed", lambda: self.orders or self.wrong, 60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=150)
        assert not self._thread.is_alive(), "the customers have not come home"

    def check_the_books(self) -> None:
        """What was placed and what is left are what there was, once what a crash left behind is settled."""

        def placed() -> int:
            total = 0
            with self.store.client() as client:
                for customer in self._customers:
                    for order in client.get("/order", headers={"Customer-ID": customer}).json()["orders"]:
                        if order["status"] == "PLACED":
                            total += sum(line["quantity"] for line in order["orderLines"])
            return total

        def left() -> int:
            with self.store.client() as client:
                return int(client.get(f"/product/{self.number}").text)

        sold = placed()
        assert sold >= self.orders, "an order that was answered as placed is gone"
        eventually(f"{STOCK} in stock at first, {sold} sold", lambda: left() + sold == STOCK, within=90)

    async def _shop(self) -> None:
        url = f"http://127.0.0.1:{self.store.cluster.port}"
        async with httpx.AsyncClient(
            base_url=url, headers={"Host": self.store.host}, timeout=30, trust_env=False
        ) as client:
            await asyncio.gather(*(self._customer(client) for _ in range(self.shoppers)))

    async def _customer(self, client: httpx.AsyncClient) -> None:
        ann = {
            "firstName": "Ann", "lastName": "Smith", "email": "ann@example.com", "phoneNumber": "555-0100",
            "address": {"street": "Main Street 1", "city": "Springfield", "zip": "12345"},
        }  # fmt: skip
        me = await self._ask(client, "POST", "/customer", ann)
        if me is None:
            return
        client_id = me["id"]
        self._customers.append(client_id)
        while not self._stop.is_set():
            await self._visit(client, client_id)

    async def _visit(self, client: httpx.AsyncClient, customer: str) -> None:
        line = {"productNumber": self.number, "quantity": 1}
        await self._ask(client, "GET", f"/product/{self.number}")
        await self._ask(client, "GET", f"/customer/{customer}")
        if await self._ask(client, "POST", "/shopping-command/add-to-cart/1", line, customer) is None:
            return
        await self._ask(client, "GET", "/shopping-query/carts", customer=customer)
        order = await self._ask(client, "POST", "/shopping-query/1/checkout", customer=customer)
        if order is None:
            return
        # A repeated checkout may find that the first one made the order, and says which.
        placed = await self._ask(
            client, "POST", f"/order/{order.get('orderId') or order['id']}/place", customer=customer
        )
        if placed is not None:
            self._expect(placed["status"] == "PLACED" and placed["orderLines"][0]["productNumber"] == self.number,
                         f"a placed order is {placed}")  # fmt: skip
            self.orders += 1

    async def _ask(
        self, client: httpx.AsyncClient, method: str, path: str, body: Any = None, customer: str | None = None
    ) -> Any:
        headers = {"Customer-ID": customer} if customer else {}
        deadline = time.monotonic() + 120
        repeated = False
        while True:
            await asyncio.sleep(PAUSE)
            try:
                answer = await client.request(method, path, json=body, headers=headers)
            except httpx.TransportError as error:
                self.away.append(f"{now()} {method} {path}: {error!r}")
            else:
                self.answers[f"{method} /{path.split('/')[1]} {answer.status_code}"] += 1
                if answer.is_success:
                    return (answer.json() if answer.content else None) or {}
                if repeated and answer.status_code == 409 and "orderId" in answer.text:
                    return answer.json()
                said = f"{now()} {method} {path} was answered {answer.status_code}: {answer.text[:300]}"
                if answer.status_code not in AWAY:
                    self.wrong.append(said)
                    return None
                self.away.append(said)
            if self.strict:
                return None
            repeated = True
            self._expect(time.monotonic() < deadline, f"{method} {path} found nobody for two minutes")
            if time.monotonic() >= deadline:
                return None

    def _expect(self, true: bool, otherwise: str) -> None:
        if not true:
            self.wrong.append(otherwise)


def now() -> str:
    """The time of day, to find a failed request in the logs."""
    return time.strftime("%H:%M:%S")
