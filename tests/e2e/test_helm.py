"""The same store without the operator, by Helm alone."""

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import ROOT, Cluster, Store
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
