"""What the operator survives."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from tests.operator.kube import Kube, Kubelet, Object, eventually
from tests.operator.process import NAMESPACE, Operator, Rights, operating
from tests.operator.proxy import Proxy
from tests.operator.stores import SERVICES, Store, gone, image

pytestmark = pytest.mark.usefixtures("kubelet")


@pytest.fixture
async def proxy(kube: Kube) -> AsyncIterator[Proxy]:
    async with Proxy(kube).serving() as proxy:
        yield proxy


async def leading(operator: Operator) -> bool:
    """Whether that copy works."""
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"http://127.0.0.1:{operator.port}/metrics")).text
    except httpx.TransportError:
        return False
    return "webstore_operator_leading 1.0" in text


async def versions(store: Store) -> set[str]:
    return {image(await store.deployment(service)).split(":")[-1] for service in SERVICES}


async def test_kill_9_in_mid_roll_out(store: Store, rights: Rights, folder: Path, kubelet: Kubelet) -> None:
    async with operating(rights, folder) as first:
        await store.apply()
        await store.until("Ready")
        kubelet.held = {(store.namespace, "product")}
        await store.apply({"version": "1.1.0"})
        await store.until("Progressing", reason="Updating", saying="waiting for product")
        first.kill()
        await first.process.wait()
    rollout = (await store.get())["status"]["rollout"]
    async with operating(rights, folder):
        kubelet.held = {(store.namespace, "order")}
        await store.until("Progressing", reason="Updating", saying="waiting for order")
        assert image(await store.deployment("shopping-query")).endswith(":0.1.0"), (
            "it goes on at the stage where it was"
        )
        assert (await store.get())["status"]["rollout"]["revision"] == rollout["revision"]
        kubelet.held = set()
        await store.until("Ready")
    assert await versions(store) == {"1.1.0"}


async def test_two_copies_of_which_one_works_and_the_other_takes_over(
    store: Store, rights: Rights, folder: Path, kube: Kube
) -> None:
    async with operating(rights, folder) as one, operating(rights, folder) as two:
        await eventually("one of them works", lambda: _any(leading(one), leading(two)))
        await store.apply()
        await store.until("Ready")
        active, idle = (one, two) if await leading(one) else (two, one)
        assert not await leading(idle)
        active.kill()
        await active.process.wait()
        await kube.delete("services", store.namespace, "store-order")
        await eventually("the other works", lambda: leading(idle))
        await eventually("and repairs", lambda: _has(store, "services", "store-order"))
        async with operating(rights, folder) as three:
            assert await idle.stop() == 0
            await eventually("a copy that ends hands over", lambda: leading(three))
            lease = await kube.get("leases", NAMESPACE, "webstore-operator")
            assert lease is not None
            await kube.delete("services", store.namespace, "store-order")
            await eventually("and the next repairs", lambda: _has(store, "services", "store-order"))


async def test_two_copies_that_both_believe_to_be_the_one(
    store: Store, rights: Rights, folder: Path, kube: Kube
) -> None:
    # Each has a Lease of its own.
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{NAMESPACE}-2"}})
    subject = {"kind": "ServiceAccount", "name": "webstore-operator", "namespace": NAMESPACE}
    metadata = {"name": "webstore-operator", "namespace": f"{NAMESPACE}-2"}
    api = "rbac.authorization.k8s.io/v1"
    rule: Object = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update"]}
    await kube.apply({"apiVersion": api, "kind": "Role", "metadata": metadata, "rules": [rule]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "webstore-operator"}
    await kube.apply(
        {"apiVersion": api, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]}
    )
    async with operating(rights, folder) as one, operating(rights, folder, namespace=f"{NAMESPACE}-2") as two:
        await eventually("both work", lambda: _all(leading(one), leading(two)))
        await store.apply()
        await store.until("Ready")
        first = await store.secret()
        await store.apply({"version": "1.1.0"})
        await store.until("Ready")
        assert await versions(store) == {"1.1.0"}
        assert await store.secret() == first
        await kube.delete("services", store.namespace, "store-order")
        await eventually("it is repaired", lambda: _has(store, "services", "store-order"))
        pods = await eventually("one pod each", lambda: store.settled_pods(1))
        await store.until("Ready")
        assert await store.pods() == pods, "they do not fight"


async def test_an_api_server_that_answers_429_500_and_409(
    store: Store, rights: Rights, folder: Path, proxy: Proxy, kube: Kube
) -> None:
    answers = itertools.cycle([None, 500, None, None, 429, None, 409, None, None])
    writes = ("PATCH", "POST", "DELETE", "PUT")

    def faulty(request: web.BaseRequest) -> int | None:
        status = next(answers)
        return None if status == 409 and request.method not in writes else status

    proxy.fault = faulty
    async with operating(rights, folder, server=proxy.url) as operator:
        await store.apply()
        await store.until("Ready", within=120)
        await store.apply({"version": "1.1.0"})
        await store.until("Ready", within=120)
        await kube.delete("services", store.namespace, "store-order")
        await eventually("it is repaired", lambda: _has(store, "services", "store-order"))
        proxy.fault = lambda _: None
        await store.until("Ready")
        assert await versions(store) == {"1.1.0"}
        assert operator.process.returncode is None, "it went on all the time"
    made_up = {
        code: sum(n for what, n in proxy.counted.items() if f" {code} made up" in what) for code in (409, 429, 500)
    }
    print(f"answers made up: {made_up} of {sum(proxy.counted.values())}")
    assert all(number >= 3 for number in made_up.values()), "the test made faults"


async def test_an_api_server_that_cannot_make_a_service(
    store: Store, rights: Rights, folder: Path, proxy: Proxy
) -> None:
    """As when there is no service IP left: the store says so, and is finished once it can be."""
    proxy.fault = lambda request: 500 if "/services/" in request.path and request.method == "PATCH" else None
    async with operating(rights, folder, server=proxy.url):
        await store.apply()
        condition = await store.until("Progressing", reason="Retrying")
        assert "API server" in condition["message"]
        assert (await store.condition("Ready"))["reason"] == "Retrying"
        proxy.fault = lambda _: None
        await store.until("Ready")


async def test_a_helm_that_is_killed(store: Store, rights: Rights, folder: Path) -> None:
    """As by a node that has no memory left: that says nothing about the spec."""
    helm, killed = folder / "helm-that-is-killed", folder / "helm-was-killed"
    helm.write_text(f'#!/bin/sh\n[ ! -e {killed} ] || {{ echo >> {killed}; kill -9 $$; }}\nexec helm "$@"\n')
    helm.chmod(0o700)
    killed.write_text("")

    async def tried() -> bool:
        return len(killed.read_text().splitlines()) >= 3

    async with operating(rights, folder, helm=helm):
        await store.apply()
        await eventually("it is tried again", tried, within=60)
        assert not await store.condition("Degraded"), "nobody refuses the spec"
        killed.unlink()
        await store.until("Ready", within=60)


async def test_an_api_server_that_drops_its_watches(
    store: Store, rights: Rights, folder: Path, proxy: Proxy, kube: Kube
) -> None:
    async with operating(rights, folder, server=proxy.url) as operator:
        await store.apply()
        await store.until("Ready")
        for name in ("store-order", "store-product"):
            await eventually("all watches are open", lambda: _watching(proxy, 10))
            assert proxy.drop_watches() >= 10
            await kube.delete("services", store.namespace, name)
            await eventually("it is repaired", lambda name=name: _has(store, "services", name))
        proxy.drop_watches()
        await store.apply({"version": "1.1.0"})
        await store.until("Ready")
        # The versions that the watches would go on from are too old: everything has to be listed again.
        proxy.fault = lambda request: 410 if request.query.get("watch") == "true" else None
        proxy.drop_watches()
        await kube.delete("services", store.namespace, "store-order")
        await eventually("the watches are refused", lambda: _count(proxy, "410 made up"))
        proxy.fault = lambda _: None
        await eventually("it is repaired", lambda: _has(store, "services", "store-order"))
        assert operator.process.returncode is None


async def test_an_api_server_that_is_away_for_a_while(
    store: Store, rights: Rights, folder: Path, proxy: Proxy, kube: Kube
) -> None:
    async with operating(rights, folder, server=proxy.url, lease_seconds=60) as operator:
        await store.apply()
        await store.until("Ready")
        proxy.fault = lambda _: 503
        proxy.drop_watches()
        await kube.delete("services", store.namespace, "store-order")
        await store.apply({"version": "1.1.0"})
        await eventually("it was asked in vain", lambda: _count(proxy, "503 made up", 30))
        proxy.fault = lambda _: None
        await store.until("Ready")
        assert await _has(store, "services", "store-order")
        assert await versions(store) == {"1.1.0"}
        assert operator.process.returncode is None


async def test_a_webstore_deleted_while_it_is_being_created(
    store: Store, rights: Rights, folder: Path, proxy: Proxy
) -> None:
    seen = asyncio.Event()

    def watching(request: web.BaseRequest) -> None:
        if request.method == "PATCH" and "/configmaps/" in request.path:
            seen.set()

    proxy.fault = watching
    async with operating(rights, folder, server=proxy.url):
        await store.apply()
        await asyncio.wait_for(seen.wait(), 60)
        await store.delete()
        await gone(store, "deployments", "configmaps", "services", "secrets", "serviceaccounts")
        other = Store(store.kube, store.namespace, "other")
        await other.apply()
        await other.until("Ready")
        await gone(store, "deployments", "configmaps", "services", "secrets", "serviceaccounts")


async def test_a_namespace_being_removed(
    store: Store, rights: Rights, folder: Path, kube: Kube, namespaces: Callable[[], Awaitable[str]]
) -> None:
    async with operating(rights, folder) as operator:
        begun = Store(kube, await namespaces())
        await store.apply()
        await store.until("Ready")
        await begun.apply()
        for namespace in (store.namespace, begun.namespace):
            await kube.delete("namespaces", "", namespace)
        for namespace in (store.namespace, begun.namespace):
            await eventually("the namespace is gone", lambda namespace=namespace: _gone(kube, namespace), 120)
        other = Store(kube, await namespaces())
        await other.apply()
        await other.until("Ready")
        assert operator.process.returncode is None


async def test_the_operator_uninstalled_before_the_webstores(
    store: Store, rights: Rights, folder: Path, kube: Kube
) -> None:
    async with operating(rights, folder) as operator:
        await store.apply()
        await store.until("Ready")
        assert await operator.stop() == 0
    assert await versions(store) == {"0.1.0"}, "the store goes on without it"
    await store.delete()
    assert await kube.get("webstores", store.namespace, "store") is None, "nothing holds it"
    await gone(store, "deployments", "configmaps", "services", "secrets", "serviceaccounts", "ingresses")


async def test_a_definition_that_comes_after_the_operator(
    rights: Rights, folder: Path, proxy: Proxy, store: Store
) -> None:
    proxy.fault = lambda request: 404 if "webstore.dev" in request.path else None
    async with operating(rights, folder, server=proxy.url) as operator:

        async def told() -> bool:
            return "waiting for the CustomResourceDefinition" in operator.log.read_text()

        await eventually("it says what it waits for", told)
        proxy.fault = lambda _: None
        await store.apply()
        await store.until("Ready")


async def _has(store: Store, plural: str, name: str) -> bool:
    return name in await store.objects(plural)


async def _any(*asked: Awaitable[bool]) -> bool:
    return any(await asyncio.gather(*asked))


async def _all(*asked: Awaitable[bool]) -> bool:
    return all(await asyncio.gather(*asked))


async def _count(proxy: Proxy, what: str, least: int = 1) -> bool:
    return sum(number for name, number in proxy.counted.items() if what in name) >= least


async def _watching(proxy: Proxy, least: int) -> bool:
    return proxy.watches >= least


async def _gone(kube: Kube, namespace: str) -> bool:
    return await kube.get("namespaces", "", namespace) is None
