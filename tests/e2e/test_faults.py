"""What a store's customers see when its pods, or its node, die."""

import pytest

from tests.e2e.cluster import SERVICES, CommandFailed, Store, eventually, ready, uids
from tests.e2e.load import Load


def all_ready(store: Store) -> bool:
    try:
        pods = store.pods()
    except CommandFailed:  # the API server is on its way up
        return False
    return len(pods) >= len(SERVICES) + 3 and all(map(ready, pods))


@pytest.mark.parametrize("part", [*SERVICES, "kafka", "postgres"])
def test_a_killed_pod_comes_back_and_no_answer_is_wrong(store: Store, part: str) -> None:
    before = uids(store.pods(part))
    with Load(store, strict=False) as load:
        names = [pod["metadata"]["name"] for pod in store.pods(part)]
        store.kubectl("delete", "pod", *names, "--grace-period=0", "--force")
        eventually(
            f"another pod of {part} is ready", lambda: all_ready(store) and uids(store.pods(part)) != before, 180
        )
        before_orders = load.orders
        eventually("orders are placed again", lambda: load.orders > before_orders + 4 or load.wrong, 120)
    assert load.wrong == []
    load.check_the_books()
    store.await_ready()


def test_after_a_restart_of_the_node_all_comes_back_with_its_data(store: Store) -> None:
    with Load(store) as load:
        eventually("ten orders", lambda: load.orders >= 10 or load.wrong or load.away, 60)
    with store.client() as client:
        products = client.get("/product").json()
    pods = uids(store.pods())
    store.cluster.run("docker", "restart", store.cluster.node)
    eventually("every pod runs again", lambda: all_ready(store) and not pods & uids(store.pods()), within=300)
    store.await_ready()
    store.await_answers()
    with store.client() as client:
        assert client.get("/product").json() == products
    load.check_the_books()
    with Load(store) as load:
        eventually("ten orders", lambda: load.orders >= 10 or load.wrong or load.away, 60)
    assert (load.wrong, load.away) == ([], [])
