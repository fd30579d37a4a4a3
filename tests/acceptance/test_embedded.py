"""The embedded store, started as its user starts it, with the contract's scenario played against it."""

from pathlib import Path

import httpx
import pytest

from webstore_embedded import demo


def test_the_rest_clients_scenario_passes(store: tuple[str, Path]) -> None:
    demo.play(store[0], fixed_numbers=True)


def test_out_of_stock_is_409_and_nothing_is_reserved(store: tuple[str, Path]) -> None:
    with httpx.Client(base_url=store[0], headers={"Customer-ID": "ann"}) as client:
        product = {"productNumber": "few", "name": "few", "price": 1, "stock": {"quantity": 1}}
        assert client.post("/product", json=product).status_code == 201
        lines = [{"productNumber": "few", "quantity": 2}]
        order = client.post("/order", json={"orderLines": lines}).json()
        assert client.post(f"/order/{order['id']}/place").status_code == 409
        assert client.get("/product/few").json() == 1


def test_a_customer_sees_and_acts_on_its_own_orders_only(store: tuple[str, Path]) -> None:
    with httpx.Client(base_url=store[0]) as client:
        body = {"orderLines": [{"productNumber": "x", "quantity": 1}]}
        order = client.post("/order", json=body, headers={"Customer-ID": "bob"}).json()
        assert client.post(f"/order/{order['id']}/place", headers={"Customer-ID": "eve"}).status_code == 404
        assert client.get("/order", headers={"Customer-ID": "eve"}).json() == {"orders": []}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"orderLines":[{"productNumber":"\\ud800","quantity":1}]}', b"[" * 100_000]
)
def test_bad_input_is_refused_with_problem_details(store: tuple[str, Path], body: bytes) -> None:
    headers = {"Customer-ID": "ann", "Content-Type": "application/json"}
    answer = httpx.post(f"{store[0]}/order", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
