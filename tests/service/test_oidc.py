"""The oidc mode: bearer tokens of a real issuer, whose keys are fetched over HTTP."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI

from tests.databases import Databases
from tests.service.conftest import listening, running_store
from webstore_chassis.auth import Issuer, Principal
from webstore_chassis.problems import Unauthorized, Unavailable
from webstore_chassis.settings import Settings

AUDIENCE = "webstore"
PRODUCT = {"productNumber": "001", "name": "laptop", "price": 1250.0, "stock": {"quantity": 10}}
CUSTOMER = {"firstName": "Ann", "lastName": "Smith", "email": "ann@example.com"}


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Provider:
    """An OpenID provider: its keys by id, and how it behaves."""

    url: str = ""
    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=lambda: {"first": new_key()})
    fetched: int = 0
    pause: float = 0
    down: bool = False

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        async def discovery() -> dict[str, Any]:
            await asyncio.sleep(self.pause)
            if self.down:
                raise httpx.HTTPError("down")
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}

        @app.get("/keys")
        async def keys() -> dict[str, Any]:
            self.fetched += 1
            return {"keys": [self._public(key_id, key) for key_id, key in self.keys.items()]}

        return app

    @staticmethod
    def _public(key_id: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
        jwk: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        return {**jwk, "kid": key_id, "alg": "RS256", "use": "sig"}

    def token(self, subject: str | None = "ann", *, key_id: str = "first", **claims: Any) -> str:
        payload = {
            "iss": self.url,
            "aud": AUDIENCE,
            "exp": time.time() + 60,
            **({"sub": subject} if subject else {}),
            **claims,
        }
        return jwt.encode(payload, self.keys[key_id], algorithm="RS256", headers={"kid": key_id})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    async with listening(provider.app()) as provider.url:
        yield provider


@pytest.fixture(scope="module")
async def shop(
    provider: Provider, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a store in oidc mode that has one product."""
    settings = {"auth_mode": "oidc", "auth_issuer": provider.url, "auth_audience": AUDIENCE}
    async with running_store(databases, tmp_path_factory.mktemp("oidc"), **settings) as (_, client):
        staff = bearer(provider.token("boss", roles=["staff"]))
        assert (await client.post("/product", json=PRODUCT, headers=staff)).status_code == 201
        yield client


def verifier(provider: Provider) -> Issuer:
    return Issuer(
        Settings(
            database_url="postgresql://x/x",
            auth_mode="oidc",
            auth_issuer=provider.url,
            auth_audience=AUDIENCE,
            internal_token="secret",
        )
    )


async def test_a_customer_shops_from_the_cart_to_the_placed_order(shop: httpx.AsyncClient, provider: Provider) -> None:
    ann = bearer(provider.token("auth0|Ann Smith,O=Example"))
    line = {"productNumber": "001", "quantity": 2}
    assert (await shop.post("/shopping-command/add-to-cart/900", json=line, headers=ann)).status_code == 200
    order = await shop.post("/shopping-query/900/checkout", headers=ann)
    assert (order.status_code, order.json()["orderLines"]) == (200, [line])
    placed = await shop.post(f"/order/{order.json()['id']}/place", headers=ann)
    assert placed.json()["status"] == "PLACED"


async def test_another_customers_orders_and_carts_are_not_there(shop: httpx.AsyncClient, provider: Provider) -> None:
    ann, eve = bearer(provider.token("ann")), bearer(provider.token("eve"))
    lines = {"orderLines": [{"productNumber": "001", "quantity": 1}]}
    order = (await shop.post("/order", json=lines, headers=ann)).json()
    await shop.post("/shopping-command/add-to-cart/1", json={"productNumber": "001", "quantity": 1}, headers=ann)
    assert (await shop.post(f"/order/{order['id']}/place", headers=eve)).status_code == 404
    assert (await shop.get("/order", headers=eve)).json() == {"orders": []}
    assert (await shop.delete("/shopping-command/1/001", headers=eve)).status_code == 404
    assert (await shop.post("/shopping-query/1/checkout", headers=eve)).status_code == 404


async def test_the_customer_id_header_is_not_believed(shop: httpx.AsyncClient, provider: Provider) -> None:
    ann, eve = provider.token("ann-2"), {**bearer(provider.token("eve")), "Customer-ID": "ann-2"}
    lines = {"orderLines": [{"productNumber": "001", "quantity": 1}]}
    assert (await shop.post("/order", json=lines, headers=bearer(ann))).status_code == 201
    assert (await shop.get("/order", headers=eve)).json() == {"orders": []}
    assert (await shop.get("/order?customer_id=ann-2", headers=eve)).json() == {"orders": []}
    assert (await shop.get("/order", headers={"Customer-ID": "ann-2"})).status_code == 401


async def test_only_staff_edits_products_and_anybody_sees_them(shop: httpx.AsyncClient, provider: Provider) -> None:
    ann, boss = bearer(provider.token("ann")), bearer(provider.token("boss", roles="other staff"))
    new = {**PRODUCT, "productNumber": "by-staff"}
    assert (await shop.post("/product", json=new)).status_code == 401
    assert (await shop.post("/product", json=new, headers=ann)).status_code == 403
    created = await shop.post("/product", json=new, headers=boss)
    assert created.status_code == 201
    path = f"/product/{created.json()['id']}"
    assert (await shop.post(path, json=new, headers=ann)).status_code == 403
    assert (await shop.delete(path, headers=ann)).status_code == 403
    assert (await shop.delete(path, headers=boss)).status_code == 200
    assert (await shop.get("/product")).status_code == 200


async def test_a_customer_sees_itself_and_staff_sees_all(shop: httpx.AsyncClient, provider: Provider) -> None:
    ann, eve, boss = (bearer(provider.token(n, **r)) for n, r in (("a3", {}), ("e3", {}), ("b3", {"roles": ["staff"]})))
    created = await shop.post("/customer", json=CUSTOMER, headers=ann)
    assert (created.status_code, created.json()["id"]) == (201, "a3")
    assert (await shop.post("/customer", json=CUSTOMER, headers=ann)).status_code == 409
    assert (await shop.get("/customer/a3", headers=ann)).json() == created.json()
    assert (await shop.get("/customer", headers=ann)).status_code == 403
    for request in (
        shop.get("/customer/a3", headers=eve),
        shop.post("/customer/a3", json=CUSTOMER, headers=eve),
        shop.delete("/customer/a3", headers=eve),
    ):
        assert (await request).status_code == 404
    assert created.json() in (await shop.get("/customer", headers=boss)).json()["customers"]


@pytest.mark.parametrize("subject", ["x" * 255, "https://issuer.example/users/7", "auth0|5f7c", "/a"])
async def test_a_customer_reaches_itself_whatever_its_subject_is(
    shop: httpx.AsyncClient, provider: Provider, subject: str
) -> None:
    own, eve = bearer(provider.token(subject)), bearer(provider.token("eve"))
    created = await shop.post("/customer", json=CUSTOMER, headers=own)
    assert (created.status_code, created.json()["id"]) == (201, subject)
    path = f"/customer/{quote(subject, safe='')}"
    assert (await shop.get(path, headers=eve)).status_code == 404
    assert (await shop.get(path, headers=own)).json() == created.json()
    assert (await shop.post(path, json={**CUSTOMER, "firstName": "Eve"}, headers=own)).json()["firstName"] == "Eve"
    assert (await shop.delete(path, headers=own)).status_code == 200


async def test_a_path_that_takes_any_customers_id_hides_no_other(shop: httpx.AsyncClient) -> None:
    described = (await shop.get("/customer/-/openapi.json")).json()["paths"]
    assert set(described) == {"/customer", "/customer/{customer_id}"}
    assert set(described["/customer/{customer_id}"]) == {"get", "post", "delete"}
    assert (await shop.get("/customer/-/docs")).headers["content-type"].startswith("text/html")


async def test_a_token_without_a_subject_is_no_customer(shop: httpx.AsyncClient, provider: Provider) -> None:
    for subject in (None, "\r\nX-Evil: 1", "nul\x00", "\N{SNOWMAN}", "x" * 256, " "):
        nobody = bearer(provider.token(subject))
        assert (await shop.get("/order", headers=nobody)).status_code == 401, subject
        assert (await shop.post("/customer", json=CUSTOMER, headers=nobody)).status_code == 401, subject


def forged(provider: Provider) -> dict[str, str]:
    """Tokens that must not be taken, by what is wrong with them."""
    good, other = provider.token(), new_key()
    header, payload, signature = good.split(".")
    public = provider.keys["first"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = {"iss": provider.url, "aud": AUDIENCE, "exp": time.time() + 60, "sub": "ann"}

    def encoded(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    def part(value: Any) -> str:
        return encoded(json.dumps(value).encode())

    confused = f"{part({'alg': 'HS256', 'kid': 'first'})}.{payload}"
    return {
        "expired": provider.token(exp=time.time() - 3600),
        "not yet valid": provider.token(nbf=time.time() + 3600),
        "for another audience": provider.token(aud="elsewhere"),
        "of another issuer": provider.token(iss="https://elsewhere.example"),
        "without an end": jwt.encode({**claims, "exp": None}, provider.keys["first"], "RS256", {"kid": "first"}),
        "signed by another key": jwt.encode(claims, other, "RS256", {"kid": "first"}),
        "of an unknown key": jwt.encode(claims, other, "RS256", {"kid": "unknown"}),
        "of no key": jwt.encode(claims, other, "RS256"),
        "unsigned": f"{part({'alg': 'none', 'kid': 'first'})}.{payload}.",
        "unsigned, and says so oddly": f"{part({'alg': 'NONE', 'kid': 'first'})}.{payload}.{signature}",
        "HMAC with the public key": f"{confused}.{encoded(hmac.digest(public, confused.encode(), 'sha256'))}",
        "with a changed payload": f"{header}.{part({**claims, 'sub': 'eve'})}.{signature}",
        "no JWT": "abc",
        "of three odd parts": "a.b.c",
        "deep": f"{encoded(b'[' * 5000)}.{payload}.{signature}",
        "a list for a header": f"{part([])}.{payload}.{signature}",
    }


async def test_a_token_is_refused_if_anything_is_wrong_with_it(shop: httpx.AsyncClient, provider: Provider) -> None:
    assert (await shop.get("/order", headers=bearer(provider.token()))).status_code == 200
    for wrong, token in forged(provider).items():
        answer = await shop.get("/order", headers=bearer(token))
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), wrong
        assert answer.headers["content-type"] == "application/problem+json"


async def test_requests_that_come_while_the_keys_are_fetched_wait_for_them(provider: Provider) -> None:
    issuer = verifier(provider)
    provider.pause, fetched = 0.2, provider.fetched
    try:
        callers = await asyncio.gather(*(issuer.verify(provider.token()) for _ in range(10)))
    finally:
        provider.pause = 0
    assert callers == [Principal("ann", staff=False)] * 10
    assert provider.fetched == fetched + 1


async def test_a_key_that_is_new_at_the_issuer_is_taken_and_one_that_is_gone_is_not(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webstore_chassis.auth._KEYS_RETRY_SECONDS", -1)
    issuer = verifier(provider)
    await issuer.verify(provider.token())
    retired, provider.keys["second"] = provider.token(), new_key()
    both = asyncio.gather(*(issuer.verify(provider.token(key_id="second")) for _ in range(5)))
    assert await both == [Principal("ann", staff=False)] * 5
    first = provider.keys.pop("first")
    try:
        provider.keys["third"] = new_key()
        await issuer.verify(provider.token(key_id="third"))
        with pytest.raises(Unauthorized):
            await issuer.verify(retired)
    finally:
        provider.keys = {"first": first}


async def test_an_unknown_key_makes_nobody_ask_the_issuer_all_the_time(provider: Provider) -> None:
    issuer = verifier(provider)
    await issuer.verify(provider.token())
    fetched = provider.fetched
    for number in range(20):
        with pytest.raises(Unauthorized):
            await issuer.verify(jwt.encode({}, new_key() if number == 0 else provider.keys["first"], "RS256",
                                           {"kid": f"made up {number}"}))  # fmt: skip
    assert provider.fetched == fetched


async def test_without_keys_the_answer_is_503_and_known_keys_outlive_an_outage(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = verifier(provider)
    await known.verify(provider.token())
    monkeypatch.setattr("webstore_chassis.auth._KEYS_FRESH_SECONDS", -1)
    monkeypatch.setattr("webstore_chassis.auth._KEYS_RETRY_SECONDS", -1)
    provider.down = True
    try:
        with pytest.raises(Unavailable):
            await verifier(provider).verify(provider.token())
        assert (await known.verify(provider.token())).customer_id == "ann"
    finally:
        provider.down = False


async def test_an_issuer_that_calls_itself_otherwise_is_not_believed(provider: Provider) -> None:
    other = Settings(
        database_url="postgresql://x/x",
        auth_mode="oidc",
        auth_issuer=provider.url.replace("127.0.0.1", "localhost"),
        auth_audience=AUDIENCE,
        internal_token="secret",
    )
    with pytest.raises(Unavailable):
        await Issuer(other).verify(provider.token())


async def test_paths_of_the_services_themselves_need_their_token(
    provider: Provider, databases: Databases, tmp_path: Path
) -> None:
    settings = {"auth_mode": "oidc", "auth_issuer": provider.url, "auth_audience": AUDIENCE, "internal_token": "secret"}
    async with running_store(databases, tmp_path, **settings) as (store, _):
        transport = httpx.ASGITransport(store.apps["shopping-command"])
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            assert (await client.get("/internal/journal")).status_code == 401
            assert (await client.get("/internal/journal", headers=bearer(provider.token()))).status_code == 401
            assert (await client.get("/internal/journal", headers=bearer("secret"))).status_code == 200
