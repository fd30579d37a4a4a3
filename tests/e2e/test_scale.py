"""More pods share the work, by hand and by load."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import CAMEL, SERVICES, Store, eventually, ready
from tests.e2e.load import Load


@pytest.fixture(autouse=True)
def _as_it_was(store: Store) -> Iterator[None]:
    yield
    store.apply()
    store.await_ready()


def answered(store: Store, pod: str, service: str) -> int:
    """How many requests of customers a pod has answered, as its log says."""
    lines = store.kubectl("logs", pod, "-c", service, "--tail=-1").splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    return sum(1 for entry in logged if str(entry.get("route", "")).startswith(f"/{service}"))


def test_two_replicas_of_each_service_share_the_requests(store: Store) -> None:
    store.apply({"services": {CAMEL.get(service, service): {"replicas": 2} for service in SERVICES}})
    store.await_ready()
    with Load(store) as load:
        eventually("40 orders", lambda: load.orders >= 40 or load.wrong or load.away, 120)
    assert (load.wrong, load.away) == ([], [])
    for service in SERVICES:
        pods = store.pods(service)
        assert len(pods) == 2, service
        shares = {pod["metadata"]["name"]: answered(store, pod["metadata"]["name"], service) for pod in pods}
        assert min(shares.values()) > 0, shares


def test_load_brings_more_pods_of_an_autoscaled_service(store: Store) -> None:
    resources = {"requests": {"cpu": "20m", "memory": "128Mi"}}
    autoscaling = {"min": 1, "max": 3, "cpu": 50}
    store.apply({"services": {"product": {"autoscaling": autoscaling, "resources": resources}}})
    store.await_ready()
    with Load(store, shoppers=8) as load:
        eventually("a second pod of product", lambda: sum(map(ready, store.pods("product"))) > 1, within=240)
        replicas = len(store.pods("product"))
        # The operator leaves the count to the autoscaler: a reconcile does not take the pod away.
        store.kubectl("annotate", "webstore", store.name, "webstore.dev/test=touched", "--overwrite")
        store.await_ready()
        assert len(store.pods("product")) >= replicas
    assert load.wrong == []
