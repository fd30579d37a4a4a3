"""The REST client's scenario of the contract, played over HTTP against any store, with a line for each step."""

import secrets
import time
from typing import Any

import httpx

_FOLLOWING_SECONDS = 30


class DemoFailed(Exception):
    """A step went wrong; the message says which, and what came back."""


class _Shop:
    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.customer: str | None = None

    def call(self, what: str, method: str, path: str, body: Any = None) -> Any:
        headers = {"Customer-ID": self.customer} if self.customer else {}
        try:
            answer = self._client.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise DemoFailed(f"{what}: {method} {path} got no answer ({error}). Is the store running there?") from None
        if not answer.is_success:
            raise DemoFailed(f"{what}: {method} {path} was answered {answer.status_code}: {answer.text}")
        print(f"  {what:42} {method:6} {path} -> {answer.status_code}", flush=True)
        return answer.json() if answer.content else None


def play(url: str, *, fixed_numbers: bool = False) -> None:
    """Plays the scenario.

    Args:
        fixed_numbers: to the letter: the contract's product numbers, which needs an empty store, and its one second for
            the view of carts to follow; else numbers are made up, and the view has half a minute.

    Raises:
        DemoFailed: at the first thing that is wrong.
    """
    suffix = "" if fixed_numbers else "-" + secrets.token_hex(3)
    laptop, television, cart = f"001{suffix}", f"002{suffix}", f"900{suffix}"
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        shop = _Shop(client)
        print(f"Shopping at {url}")
        shop.call("create a TV", "POST", "/product", _product(television, "TV", 456.50, 70))
        created = shop.call("create a laptop", "POST", "/product", _product(laptop, "laptop", 1250.00, 100))
        shop.call("list products", "GET", "/product")
        shop.call(
            "make the laptop cheaper", "POST", f"/product/{created['id']}", _product(laptop, "laptop", 1100.00, 100)
        )
        products = shop.call("list products", "GET", "/product")["products"]
        _expect("the laptop's price", [p["price"] for p in products if p["productNumber"] == laptop], [1100.0])
        customer = {
            "firstName": "Ann",
            "lastName": "Smith",
            "email": "ann@example.com",
            "phoneNumber": "555-0100",
            "address": {"street": "Main Street 1", "city": "Springfield", "zip": "12345"},
        }
        shop.customer = shop.call("become a customer", "POST", "/customer", customer)["id"]
        add, update = f"/shopping-command/add-to-cart/{cart}", f"/shopping-command/update-cart/{cart}"
        shop.call("put 10 laptops in the cart", "POST", add, {"productNumber": laptop, "quantity": 10})
        shop.call("put 5 TVs in the cart", "POST", add, {"productNumber": television, "quantity": 5})
        patience = 0 if fixed_numbers else _FOLLOWING_SECONDS
        _see_cart(shop, cart, [_line(laptop, 10), _line(television, 5)], patience)
        shop.call("take the laptops out", "DELETE", f"/shopping-command/{cart}/{laptop}")
        shop.call("make it 10 TVs", "POST", update, {"productNumber": television, "quantity": 10})
        shop.call("view carts, at once", "GET", "/shopping-query/carts/")
        order = shop.call("check out, at once", "POST", f"/shopping-query/{cart}/checkout")
        _expect("the order's lines", order["orderLines"], [_line(television, 10)])
        orders = shop.call("list orders", "GET", "/order")["orders"]
        _expect("the orders", [(o["id"], o["status"]) for o in orders], [(order["id"], "PENDING")])
        shop.call("place the order", "POST", f"/order/{order['id']}/place")
        orders = shop.call("list orders", "GET", "/order")["orders"]
        _expect("the orders", [(o["id"], o["status"]) for o in orders], [(order["id"], "PLACED")])
        _expect("TVs left", shop.call("ask for the TVs left", "GET", f"/product/{television}"), 60)
    print("All is as it should be.")


def _see_cart(shop: _Shop, cart: str, lines: list[dict[str, Any]], patience: float) -> None:
    """The scenario pauses for a second, as the view follows; just after a store's start that may take longer."""
    ends = time.monotonic() + patience
    while True:
        time.sleep(1)
        carts = shop.call("view carts", "GET", "/shopping-query/carts/")["carts"]
        found = [c["cartLines"] for c in carts if c["cartNumber"] == cart]
        if found == [lines]:
            return
        if time.monotonic() > ends:
            raise DemoFailed(f"the cart: expected {[lines]}, found {found}")


def _product(number: str, name: str, price: float, quantity: int) -> dict[str, Any]:
    return {"productNumber": number, "name": name, "description": name, "price": price, "stock": {"quantity": quantity}}


def _line(number: str, quantity: int) -> dict[str, Any]:
    return {"productNumber": number, "quantity": quantity}


def _expect(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise DemoFailed(f"{what}: expected {expected}, found {found}")
