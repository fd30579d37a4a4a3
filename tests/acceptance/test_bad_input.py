"""Input that people and programs send and should not: each is refused with problem details, and never a 500."""

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

ANN = {"Customer-ID": "ann"}
CUSTOMER = {"firstName": "Ann", "lastName": "Smith", "email": "ann@example.com"}
PRODUCT = {"productNumber": "bad-input", "name": "laptop", "price": 1250.0, "stock": {"quantity": 100}}
LINE = {"productNumber": "bad-input", "quantity": 1}
ORDER = {"orderLines": [LINE]}
BODIES = {
    "/product": PRODUCT,
    "/customer": CUSTOMER,
    "/order": ORDER,
    "/shopping-command/add-to-cart/1": LINE,
    "/shopping-command/update-cart/1": LINE,
}
NAUGHTY = [
    "'; DROP TABLE product; --",
    "\" OR ''='",
    "%s %(id)s :id {0} ${jndi:ldap://x}",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "\u202eevil",
    "a\r\nBcc: eve@example.com",
    "\U0001f600" * 10,
]


@pytest.fixture(scope="module")
def client(store: tuple[str, Path]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=store[0], headers=ANN, timeout=60) as client:
        assert client.post("/product", json=PRODUCT).status_code == 201
        yield client


def assert_refused(answer: httpx.Response, *codes: int) -> None:
    assert answer.status_code in codes, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["title"]
    assert problem["detail"]


def test_a_request_for_the_server_itself_is_404(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10) as connection:
        connection.sendall(b"OPTIONS * HTTP/1.1\r\nHost: store\r\nConnection: close\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("path", BODIES)
def test_a_body_of_ten_megabytes_is_413(client: httpx.Client, path: str) -> None:
    headers = {"Content-Type": "application/json"}
    body = b'{"x": "' + b"x" * 10_000_000 + b'"}'
    assert_refused(client.post(path, content=body, headers=headers), 413)
    chunks = (body[start : start + 65536] for start in range(0, len(body), 65536))
    assert_refused(client.post(path, content=chunks, headers=headers), 413)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"NaN",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{}",
        b'{"x": "\\ud800"}',
        b"1" * 100_000,
        b"\x00",
        b"productNumber=001&quantity=1",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_not_what_is_asked_for_is_refused(client: httpx.Client, path: str, body: bytes) -> None:
    assert_refused(client.post(path, content=body, headers={"Content-Type": "application/json"}), 400, 422)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data", "x", ""],
)
def test_a_body_of_another_content_type_is_refused(client: httpx.Client, path: str, content_type: str) -> None:
    answer = client.post(path, content=json.dumps(BODIES[path]), headers={"Content-Type": content_type})
    assert_refused(answer, 400, 422)


@pytest.mark.parametrize("quantity", [0, -1, 1.5, 10**12, -(10**30), 1e308, True, "1", None, [], {}, "NaN"])
def test_a_quantity_that_is_none_is_refused(client: httpx.Client, quantity: Any) -> None:
    line = {"productNumber": "bad-input", "quantity": quantity}
    assert_refused(client.post("/order", json={"orderLines": [line]}), 422)
    assert_refused(client.post("/shopping-command/add-to-cart/1", json=line), 422)
    assert_refused(client.post("/shopping-command/update-cart/1", json=line), 422)


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "-1", "0.001", "1e30", '"1"', "true", "null"]
)
def test_a_price_or_stock_that_is_none_is_refused(client: httpx.Client, number: str) -> None:
    headers = {"Content-Type": "application/json"}
    for field in ('"price": %s, "stock": {"quantity": 1}', '"price": 1, "stock": {"quantity": %s}'):
        body = f'{{"productNumber": "none", "name": "x", {field % number}}}'
        assert_refused(client.post("/product", content=body, headers=headers), 400, 422)


@pytest.mark.parametrize("text", ["nul\x00", "\ud800", "\udfff tail", "", " ", "x" * 5000])
def test_text_that_cannot_be_kept_is_refused(client: httpx.Client, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    for path, body, field in (
        ("/product", PRODUCT, "name"),
        ("/product", PRODUCT, "productNumber"),
        ("/customer", CUSTOMER, "firstName"),
        ("/customer", CUSTOMER, "email"),
        ("/shopping-command/add-to-cart/1", LINE, "productNumber"),
    ):
        assert_refused(client.post(path, content=json.dumps({**body, field: text}), headers=headers), 422)


IDS = ["x", "7", "%00", "%ff", "..%2f..", "'; DROP TABLE product; --", "x" * 90, "\U0001f600", "{}", "-", "null", "1e9"]


@pytest.mark.parametrize("id_", IDS)
def test_an_id_that_is_none_is_404(client: httpx.Client, id_: str) -> None:
    quoted = id_ if id_.startswith(("%", "..")) else quote(id_, safe="")
    assert_refused(client.get(f"/product/{quoted}"), 404)
    assert_refused(client.post(f"/product/{quoted}", json=PRODUCT), 404)
    assert_refused(client.delete(f"/product/{quoted}"), 404)
    assert_refused(client.get(f"/customer/{quoted}"), 404)
    assert_refused(client.post(f"/customer/{quoted}", json=CUSTOMER), 404)
    assert_refused(client.delete(f"/customer/{quoted}"), 404)
    assert_refused(client.post(f"/order/{quoted}/place"), 404)
    assert_refused(client.delete(f"/shopping-command/never/{quoted}"), 404)
    assert_refused(client.post(f"/shopping-query/{quoted}/checkout"), 404, 422)


def test_unknown_fields_are_ignored(client: httpx.Client) -> None:
    for path, body in BODIES.items():
        number = "unknown-fields" if path == "/product" else "bad-input"
        known = {**body, **({"productNumber": number} if "productNumber" in body else {})}
        answer = client.post(path, json={**known, "id": "7", "_class": "x", "nested": {"deep": [1]}})
        assert answer.is_success, (path, answer.text)


@pytest.mark.parametrize("text", NAUGHTY)
def test_no_text_is_more_than_text(client: httpx.Client, text: str) -> None:
    number = f"n{NAUGHTY.index(text)}"
    created = client.post("/product", json={**PRODUCT, "productNumber": number, "name": text, "description": text})
    if "\r" not in text:
        assert created.json()["name"] == text
    listed = {product["productNumber"] for product in client.get("/product").json()["products"]}
    assert listed >= {"bad-input", number}
    answer = client.post("/customer", json={**CUSTOMER, "firstName": text})
    assert answer.status_code == (422 if "\n" in text else 201)
    assert_refused(client.post("/customer", json={**CUSTOMER, "email": f"<{text}>@example.com"}), 422)
    assert_refused(client.get(f"/product/{quote(text, safe='')}"), 404)


@pytest.mark.parametrize("customer", [b"", b"\xff", b"a\tb", b"x" * 256, b"\xc3\xa4"])
def test_a_customer_id_that_is_none_is_refused(client: httpx.Client, customer: bytes) -> None:
    with httpx.Client(base_url=client.base_url, timeout=60) as stranger:
        assert_refused(stranger.get("/order", headers=[(b"Customer-ID", customer)]), 400, 422)


@pytest.mark.parametrize(
    "customer", ["ann", "42", "60c72b2f9b1d8e3f4c8b4567", "a b", "ann@example.com", "a/b", "_x", "{1}"]
)
def test_a_customer_id_of_any_reasonable_form_shops(client: httpx.Client, customer: str) -> None:
    headers = {"Customer-ID": customer}
    assert client.post("/shopping-command/add-to-cart/7", json=LINE, headers=headers).status_code == 200
    order = client.post("/shopping-query/7/checkout/", headers=headers)
    assert order.json()["orderLines"] == [LINE]
    assert client.post(f"/order/{order.json()['id']}/place/", headers=headers).json()["status"] == "PLACED"
    assert order.json()["id"] in [each["id"] for each in client.get("/order/", headers=headers).json()["orders"]]


def test_a_missing_customer_id_is_named(client: httpx.Client, store: tuple[str, Path]) -> None:
    answer = httpx.get(f"{store[0]}/order")
    assert_refused(answer, 422)
    assert "Customer-ID" in answer.json()["detail"]


@pytest.mark.parametrize("key", ["x" * 401, "", "t\tb"])
def test_an_idempotency_key_that_is_none_is_refused(client: httpx.Client, key: str) -> None:
    assert_refused(client.post("/order", json=ORDER, headers={"Idempotency-Key": key}), 422)


def test_a_key_used_again_for_another_order_is_refused(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "the key"}
    first = client.post("/order", json=ORDER, headers=headers)
    assert client.post("/order", json=ORDER, headers=headers).json() == first.json()
    other = {"orderLines": [{**LINE, "quantity": 2}]}
    assert_refused(client.post("/order", json=other, headers=headers), 409)
    assert client.post("/order", json=other, headers={**headers, "Customer-ID": "bob"}).status_code == 201


@pytest.mark.parametrize(
    "path", ["/nowhere", "/product/a/b", "/order/x/y/z", "/", "/shopping-query", "//", "/internal/journal"]
)
def test_a_path_that_is_none_is_refused(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json={})
    assert_refused(answer, 404, 405)


def test_a_method_that_a_path_does_not_have_is_405_and_says_which_it_has(client: httpx.Client) -> None:
    for path, methods in (("/product", "GET, POST"), ("/product/1", "DELETE, GET, POST"), ("/order/", "GET, POST")):
        answer = client.put(path, json={})
        assert_refused(answer, 405)
        assert answer.headers["allow"] == methods


def test_what_is_compressed_is_refused(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert_refused(client.post("/order", content=gzip.compress(b"[" * 10_000_000), headers=headers), 400, 422)


def test_a_request_id_of_the_callers_is_given_back_and_no_other_header_is_made_of_it(client: httpx.Client) -> None:
    assert client.get("/product", headers={"X-Request-ID": "mine"}).headers["x-request-id"] == "mine"
    assert client.get("/product", headers={"X-Request-ID": "a b"}).headers["x-request-id"] != "a b"
    assert "x-evil" not in client.get("/product?x=%0d%0aX-Evil:%201").headers
