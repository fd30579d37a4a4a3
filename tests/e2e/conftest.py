"""One cluster and, where a test does not need its own, one store for all tests here.

Any order works: a test that changes the store or the operator puts them back."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, Store
from tests.needs import missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The largest store comes first, before the tests share one: a node of two cores has no room for both."""
    items.sort(key=lambda item: item.path.name != "test_telemetry.py")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The kind cluster that `make up` made (CLUSTER: its name), with the operator in it."""
    for tool in ("docker", "kind", "kubectl", "helm"):
        if not shutil.which(tool):
            missing(f"{tool} on the PATH")
    name = os.environ.get("CLUSTER") or "webstore"
    found = subprocess.run(["kind", "get", "kubeconfig", "--name", name], check=False, text=True, capture_output=True)
    if found.returncode:
        missing(f"the kind cluster {name}: `make up` makes it")
    kubeconfig: Path = tmp_path_factory.mktemp("cluster") / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(found.stdout)
    return Cluster(name, kubeconfig)


@pytest.fixture(scope="session")
def operator(cluster: Cluster) -> Cluster:
    """The cluster with the operator installed by its chart."""
    cluster.install_operator()
    return cluster


@pytest.fixture(scope="session")
def store(operator: Cluster) -> Iterator[Store]:
    """The smallest store, ready, in the namespace `e2e`."""
    shared = Store(operator, "e2e")
    operator.namespace(shared.namespace)
    shared.apply()
    shared.await_ready()
    shared.await_answers()
    yield shared
    operator.delete_namespace(shared.namespace)
