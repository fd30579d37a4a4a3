"""The same store without the operator: by Helm alone, all at once or each service by itself."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import ROOT, SERVICES, Cluster, Store, eventually, ready
from tests.e2e.load import Load

KINDS = (
    "deployments,statefulsets,services,configmaps,ingresses,networkpolicies,poddisruptionbudgets,"
    "serviceaccounts,secrets"
)
OF_THE_CLUSTER = {"kube-root-ca.crt", "default"}


def objects(store: Store) -> set[tuple[str, str]]:
    """Kind and name of what a store is made of."""
    found = store.get(KINDS)
    return {
        (item["kind"], item["metadata"]["name"])
        for item in found
        if item["metadata"]["name"] not in OF_THE_CLUSTER and item.get("type") != "helm.sh/release.v1"
    }


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Store]:
    """A store that `helm install` made."""
    store = Store(cluster, "e2e-helm")
    cluster.namespace(store.namespace)
    cluster.helm("install", "store", ROOT / "charts/webstore", "--namespace", store.namespace, "--wait",
                 "--timeout=420s", "--set", f"global.ingress.host={store.host}")  # fmt: skip
    store.await_answers()
    yield store
    cluster.delete_namespace(store.namespace)


def test_helm_install_gives_what_the_operator_gives(release: Store, store: Store) -> None:
    assert objects(release) == objects(store)


def test_helm_upgrade_fails_no_request_and_keeps_the_passwords(release: Store) -> None:
    passwords = release.get("secret", "store-credentials")["data"]
    with Load(release) as load:
        release.cluster.helm(
            "upgrade", "store", ROOT / "charts/webstore", "--namespace", release.namespace, "--wait", "--timeout=420s",
            "--reuse-values", "--set", "global.config.WEBSTORE_SWEEP_SECONDS=6",
        )  # fmt: skip
    assert (load.wrong, load.away) == ([], [])
    load.check_the_books()
    assert release.get("secret", "store-credentials")["data"] == passwords


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
