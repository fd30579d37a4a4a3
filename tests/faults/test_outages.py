"""What goes on while something is away, and what follows when it is back."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.broker import Broker
from tests.faults.world import OUTAGE_SECONDS, SWEEPS, eventually
from tests.processes import Store, running_store

_REFUSED_AT_ONCE_SECONDS = 0.1


@pytest.fixture(scope="module")
def store(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running_store(tmp_path_factory.mktemp("outages"), broker.address, **SWEEPS) as running:
        yield running


@pytest.fixture
def client(store: Store) -> Iterator[httpx.Client]:
    """A customer of its own for each test."""
    with httpx.Client(base_url=store.url, timeout=30, trust_env=False) as client:
        name = {"firstName": "Ann", "lastName": "Smith", "email": "ann@example.com"}
        client.headers["Customer-ID"] = client.post("/customer", json=name).raise_for_status().json()["id"]
        product = {"productNumber": "001", "name": "laptop", "price": 1, "stock": {"quantity": 1000}}
        assert client.post("/product", json=product).status_code in (201, 409)
        yield client


def test_without_kafka_commands_go_on_and_their_events_arrive_later(
    store: Store, client: httpx.Client, broker: Broker
) -> None:
    broker.kill()
    ends = time.monotonic() + OUTAGE_SECONDS
    placed = [_buy(client)]
    while time.monotonic() < ends:
        placed.append(_buy(client))
    published = (
        "SELECT count(*) FROM journal, relay WHERE (journal.xid, journal.position) > (relay.xid, relay.position)"
    )
    assert store.rows("order", published) == [(len(placed),)], "nothing is published while Kafka is away"
    broker.start()
    eventually("every mail", lambda: all(any(order in mail for mail in store.mails()) for order in placed))
    eventually("every event is published", lambda: store.rows("order", published) == [(0,)])
    assert sum(any(order in mail for order in placed) for mail in store.mails()) == len(placed), "each mail once"


def test_a_service_that_starts_while_kafka_is_away_serves_and_catches_up(
    store: Store, client: httpx.Client, broker: Broker
) -> None:
    broker.kill()
    for name in ("customer", "order"):
        assert store.services[name].stop() == 0, "it can be ended while Kafka is away"
        store.services[name].start()
        store.services[name].wait()
    order = _buy(client)
    broker.start()
    eventually("the mail", lambda: any(order in mail for mail in store.mails()))


def test_a_relay_killed_in_mid_batch_publishes_again_and_nothing_is_doubled(
    store: Store, client: httpx.Client, broker: Broker
) -> None:
    broker.pause()  # so that the relay has sent, and knows of nothing
    orders = [_buy(client) for _ in range(5)]
    store.services["order"].kill()
    broker.resume()
    store.services["order"].start()
    store.services["order"].wait()
    eventually("the mails", lambda: all(any(order in mail for mail in store.mails()) for order in orders))
    unsettled = "SELECT count(*) FROM reservation WHERE NOT settled"
    eventually("all is settled", lambda: store.rows("product", unsettled) == [(0,)])
    assert sum(any(order in mail for order in orders) for mail in store.mails()) == len(orders), "each mail once"


def test_without_product_the_breaker_answers_503_at_once_and_closes_by_itself(
    store: Store, client: httpx.Client
) -> None:
    store.services["product"].kill()

    def add() -> httpx.Response:
        return client.post("/shopping-command/add-to-cart/7", json={"productNumber": "001", "quantity": 1})

    def refused_at_once() -> bool:
        answer = add()
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Content-Type"] == "application/problem+json"
        return "is given time" in answer.json()["detail"]

    eventually("the breaker is open", refused_at_once)
    seconds = []
    for _ in range(20):
        started = time.monotonic()
        add()
        seconds.append(time.monotonic() - started)
    assert sorted(seconds)[len(seconds) // 2] < _REFUSED_AT_ONCE_SECONDS, f"an open breaker answers at once: {seconds}"
    store.services["product"].start()
    store.services["product"].wait()
    eventually("the breaker closes", lambda: add().status_code == 200)
    state = 'webstore_breaker_state{downstream="product",service="shopping-command"} 0.0'
    assert state in httpx.get(f"{store.services['shopping-command'].url}/metrics", trust_env=False).text


def _buy(client: httpx.Client) -> str:
    """Puts a product in a cart, checks out and places the order, each of which must work; returns the order's id."""
    line = {"productNumber": "001", "quantity": 1}
    client.post("/shopping-command/add-to-cart/900", json=line).raise_for_status()
    order = client.post("/shopping-query/900/checkout").raise_for_status().json()
    assert order["orderLines"] == [line]
    client.post(f"/order/{order['id']}/place").raise_for_status()
    return str(order["id"])
