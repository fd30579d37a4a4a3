"""The store as a cluster runs it: five processes, a PostgreSQL, a Kafka broker, one address."""

import json
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from tests.broker import Broker
from tests.processes import SERVICES, Process, Store, running_store
from webstore_embedded import demo


@pytest.fixture(scope="module")
def store(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running_store(tmp_path_factory.mktemp("processes"), broker.address) as running:
        _follow(running)
        yield running


def _follow(store: Store) -> None:
    """Returns once the view follows the commands: a consumer group takes seconds to form after a start, and the
    scenario's client waits for one.
    """
    with httpx.Client(base_url=store.url, timeout=30, trust_env=False, headers={"Customer-ID": "first"}) as client:
        product = {"productNumber": "first", "name": "tea", "price": 1, "stock": {"quantity": 1}}
        client.post("/product", json=product).raise_for_status()
        line = {"productNumber": "first", "quantity": 1}
        client.post("/shopping-command/add-to-cart/1", json=line).raise_for_status()
        eventually("the first cart is seen", lambda: bool(client.get("/shopping-query/carts").json()["carts"]), 60)


def eventually(what: str, found: Callable[[], bool], seconds: float = 30) -> None:
    """Waits for what follows by events."""
    ends = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < ends, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def test_the_rest_clients_scenario_passes_and_its_events_arrive_everywhere(store: Store) -> None:
    def count(service: str, what: str) -> int:
        return int(store.postgres.rows(service, f"SELECT count(*) FROM {what}")[0][0])

    demo.play(store.url, fixed_numbers=True)
    eventually("a mail for each order placed", lambda: len(store.mailbox.message_ids) == count("order", "journal"))
    eventually("its reservation is settled", lambda: count("product", "reservation WHERE NOT settled") == 0)
    checkouts = "journal WHERE type = 'cart-checked-out'"
    eventually("the checkout in the cart's stream", lambda: count("shopping-command", checkouts) == 1)


def test_a_message_that_is_no_event_becomes_a_dead_letter_and_the_next_is_handled(store: Store, broker: Broker) -> None:
    broker.publish("order-placed", b"this is no event")
    broker.publish("order-placed", json.dumps({"orderLines": []}).encode(), version="1", type="order-placed")
    letters = broker.take("order-placed.dlq", 4)
    assert sorted(letter["dead-group"] for letter in letters) == ["customer", "customer", "product", "product"]
    assert sum(letter["dead-reason"].startswith("not an event") for letter in letters) == 2
    order = _order(store)
    eventually("the next order's mail", lambda: any(order in message for message in store.mailbox.message_ids))


def test_requests_in_flight_are_answered_when_a_service_is_told_to_end(store: Store) -> None:
    product = store.services["product"]
    with store.postgres.locked("product", "product"):  # so that the requests below are in flight for sure
        answers: list[int] = []
        others = _callers(product)

        def ask() -> None:
            answers.append(httpx.get(f"{product.url}/product", timeout=30, trust_env=False).status_code)

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        eventually("the service has all requests", lambda: len(_callers(product) - others) == len(asking))
        eventually("they wait for the table", lambda: store.postgres.waiting() > 0)
        product.signal(signal.SIGTERM)
        eventually("the port is closed", lambda: _refused(f"{product.url}/livez"))
    for thread in asking:
        thread.join()
    assert answers == [200] * 4
    assert product.exit_code() == 0
    product.start()
    product.wait()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_ends_with_0_and_takes_up_its_work_when_started_again(store: Store, service: str) -> None:
    assert store.services[service].stop() == 0
    store.services[service].start()
    store.services[service].wait()
    order = _order(store)
    eventually("the order's mail", lambda: any(order in message for message in store.mailbox.message_ids))


def _order(store: Store) -> str:
    """Has a new customer order a new product, and place the order; returns the order's id."""
    with httpx.Client(base_url=store.url, timeout=30, trust_env=False) as client:
        name = {"firstName": "Bob", "lastName": "Jones", "email": "bob@example.com"}
        client.headers["Customer-ID"] = client.post("/customer", json=name).raise_for_status().json()["id"]
        number = secrets.token_hex(4)
        product = {"productNumber": number, "name": "laptop", "price": 1, "stock": {"quantity": 1}}
        client.post("/product", json=product).raise_for_status()
        lines = [{"productNumber": number, "quantity": 1}]
        order = client.post("/order", json={"orderLines": lines}).raise_for_status().json()
        client.post(f"/order/{order['id']}/place").raise_for_status()
    return str(order["id"])


def _callers(service: Process) -> set[int]:
    """The ports of those whose connections a service has taken from its own port's queue."""
    port = httpx.URL(service.url).port
    connections = psutil.Process(service.pid).net_connections("tcp")
    return {each.raddr.port for each in connections if each.raddr and each.laddr.port == port}


def _refused(url: str) -> bool:
    try:
        httpx.get(url, timeout=1, trust_env=False)
    except httpx.ConnectError:
        return True
    return False
