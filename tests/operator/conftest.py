"""A real API server (WEBSTORE_TEST_APISERVER names its kubeconfig), an operator with its chart's rights, and a
kubelet."""

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
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


@pytest.fixture(scope="session")
async def namespaces(kube: Kube) -> Callable[[], Awaitable[str]]:
    """Makes namespaces; who asks for one deletes it, as the next operator would look at its stores too."""

    async def make() -> str:
        name = f"test-{uuid.uuid4().hex[:8]}"
        await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    return make


@pytest.fixture
async def store(kube: Kube, namespaces: Callable[[], Awaitable[str]]) -> AsyncIterator[Store]:
    """A store that is not made yet, in a namespace of its own, which goes with the test."""
    store = Store(kube, await namespaces())
    yield store
    await kube.delete("namespaces", "", store.namespace)


@pytest.fixture(scope="module")
async def ready_stores(
    request: pytest.FixtureRequest, kube: Kube, operator: Operator, namespaces: Callable[[], Awaitable[str]]
) -> AsyncIterator[list[Store]]:
    """Stores with nothing but defaults, one for each test of the module that asks for `installed`: made all at once."""
    wanted = sum(
        "installed" in item.fixturenames
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    )
    stores = [Store(kube, await namespaces()) for _ in range(wanted)]
    for store in stores:
        await store.apply()
    yield list(stores)
    for store in stores:
        await kube.delete("namespaces", "", store.namespace)


@pytest.fixture
async def installed(ready_stores: list[Store]) -> Store:
    """A store that is ready."""
    store = ready_stores.pop(0)
    await store.until("Ready", within=120)
    return store
