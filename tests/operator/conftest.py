"""A real API server (WEBSTORE_TEST_APISERVER names its kubeconfig), an operator with its chart's rights, and a kubelet."""

import os
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.needs import missing
from tests.operator.kube import Kube, Kubelet, running
from tests.operator.process import Operator, Rights, grant, operating
from tests.operator.stores import Store


@pytest.fixture(scope="session")
async def kube() -> AsyncIterator[Kube]:
    kubeconfig = os.environ.get("WEBSTORE_TEST_APISERVER")
    if not kubeconfig:
        missing("an API server without nodes: set WEBSTORE_TEST_APISERVER to its kubeconfig")
    if not shutil.which("helm"):
        missing("helm on the PATH: https://helm.sh/docs/intro/install/")
    kube = Kube(Path(kubeconfig))
    yield kube
    await kube.http.aclose()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operator")


@pytest.fixture(scope="session")
async def rights(kube: Kube, folder: Path) -> Rights:
    return await grant(kube, folder)


@pytest.fixture(scope="session")
async def kubelet(kube: Kube) -> AsyncIterator[Kubelet]:
    async with running(Kubelet(kube)) as kubelet:
        yield kubelet


@pytest.fixture(scope="module")
async def operator(rights: Rights, folder: Path, kubelet: Kubelet) -> AsyncIterator[Operator]:
    async with operating(rights, folder) as operator:
        yield operator


@pytest.fixture
async def store(kube: Kube) -> AsyncIterator[Store]:
    """Not made yet; what becomes of it goes with its namespace."""
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    store = Store(kube, namespace)
    yield store
    await store.delete()
    await kube.delete("namespaces", "", namespace)
