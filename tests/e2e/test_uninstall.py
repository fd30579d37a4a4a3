"""Removing leaves nothing hanging, whichever goes first, and keeps data where the spec says so."""

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Cluster, Store, eventually, ready


@pytest.fixture
def own(operator: Cluster, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store of the test's own."""
    store = Store(operator, f"e2e-{request.node.name.split('_')[1]}")
    operator.namespace(store.namespace)
    yield store
    operator.delete_namespace(store.namespace)


def volumes(store: Store) -> list[str]:
    return [claim["metadata"]["name"] for claim in store.get("persistentvolumeclaims")]


def test_deleted_store_keeps_its_volumes_and_finds_its_data_again(own: Store) -> None:
    product = {"productNumber": "kept", "name": "pen", "price": 1, "stock": {"quantity": 7}}
    own.apply()
    own.await_ready()
    own.await_answers()
    with own.client() as client:
        assert client.post("/product", json=product).status_code == 201
    own.kubectl("delete", "webstore", own.name, "--timeout=30s")
    eventually("its pods are gone", lambda: not own.get("pods"), 120)
    assert volumes(own)
    own.apply()
    own.await_ready()
    own.await_answers()
    with own.client() as client:
        assert client.get("/product/kept").json() == 7


def test_whole_store_goes_with_its_volumes_where_the_spec_says_delete(own: Store) -> None:
    own.apply({"deletionPolicy": "Delete"})
    eventually("its volumes are asked for", lambda: volumes(own), 120)
    own.kubectl("delete", "webstore", own.name, "--timeout=30s")
    eventually("its volumes and pods are gone", lambda: not volumes(own) and not own.get("pods"), 180)


def test_operator_removed_first_leaves_stores_running_and_free_to_go(own: Store) -> None:
    own.apply()
    own.await_ready()
    own.await_answers()
    cluster = own.cluster
    cluster.helm("uninstall", "webstore-operator", "--namespace", "webstore-operator", "--wait", "--timeout=120s")
    try:
        assert all(ready(pod) for pod in own.pods())
        with own.client() as client:
            assert client.get("/product").is_success
        own.kubectl("delete", "webstore", own.name, "--timeout=30s")
        eventually("its pods are gone", lambda: not own.get("pods"), 120)

        # For those who have no Helm: the same operator by kustomize, which brings a store up.
        cluster.kubectl("apply", "-k", "kustomize/base")
        cluster.kubectl("--namespace", "webstore-operator", "rollout", "status", "deployment", "--timeout=120s")
        own.apply()
        own.await_ready()
    finally:
        # Not `kubectl delete -k`: with the CRD, every store of the cluster would go.
        cluster.kubectl("delete", "namespace", "webstore-operator", "--timeout=120s")
        cluster.install_operator("--take-ownership")
