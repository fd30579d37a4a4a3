"""A PostgreSQL and a Kafka that are there already: for a WebStore, and for services that Helm installs one by one.

A file of its own: beside the store of test_helm.py, a node of two cores would have no room for these.
"""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import ROOT, SERVICES, Cluster, Store, eventually, ready
from tests.e2e.load import Load


@pytest.fixture(scope="module")
def systems(cluster: Cluster) -> Iterator[str]:
    """A namespace with a PostgreSQL and a Kafka that no store has made."""
    namespace = "e2e-external"
    cluster.namespace(namespace)
    keys = ["postgres", *SERVICES]
    passwords = {f"{key}-password": f"not-a-secret-{key}" for key in keys} | {"internal-token": "not-a-secret"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "given"}, "stringData": passwords}
    cluster.apply(secret, namespace)
    for system in ("postgres", "kafka"):
        cluster.helm("install", system, ROOT / "charts" / system, "--namespace", namespace, "--wait", "--timeout=300s",
                     "--set", "global.credentialsSecret=given")  # fmt: skip
    yield namespace
    cluster.delete_namespace(namespace)


EXTERNAL = {
    "database": {"external": {"host": "postgres", "secret": "given", "sslMode": "disable"}},
    "kafka": {"external": {"bootstrapServers": "kafka:9092"}},
}


def test_a_webstore_with_an_external_database_and_kafka_starts_none_of_its_own(operator: Cluster, systems: str) -> None:
    store = Store(operator, systems)
    store.apply(EXTERNAL)
    store.await_ready()
    store.await_answers()
    assert store.get("statefulsets", "-l", f"app.kubernetes.io/instance={store.name}") == []
    with Load(store) as load:
        eventually("five orders", lambda: load.orders >= 5 or load.wrong or load.away, 60)
    assert (load.wrong, load.away) == ([], [])
    store.kubectl("delete", "webstore", store.name, "--timeout=60s")
    eventually("its pods are gone", lambda: not store.pods(), 120)
    assert all(ready(pod) for pod in store.get("pods", "-l", "app.kubernetes.io/name in (postgres,kafka)"))


def test_each_service_installs_and_upgrades_alone(cluster: Cluster, systems: str) -> None:
    shared = {**EXTERNAL, "ingress": {"host": f"alone-{systems}.localhost"}, "mail": {"host": "mail.invalid"}}
    options = ("--namespace", systems, "--wait", "--timeout=180s", "--set-json", f"global={json.dumps(shared)}")
    for service in SERVICES:
        cluster.helm("install", service, ROOT / "charts" / service, *options)
    store = Store(cluster, systems, host=f"alone-{systems}.localhost")
    store.await_answers()
    with Load(store) as load:
        cluster.helm("upgrade", "product", ROOT / "charts/product", *options, "--set", "replicas=2")
        eventually("five orders", lambda: load.orders >= 5 or load.wrong or load.away, 60)
    assert (load.wrong, load.away) == ([], [])
    load.check_the_books()
