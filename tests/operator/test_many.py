"""Many WebStores at once: as many as WEBSTORE_TEST_STORES says. The operator is made for 300; what takes long with them
is kube-controller-manager, which makes the pods' objects at 20 requests a second."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.bench.machine import memory_mib
from tests.operator.kube import Kube, Kubelet, Object, eventually, make_room
from tests.operator.process import Operator, Rights, operating
from tests.operator.stores import LABELS, SERVICES, Store

NUMBER = int(os.environ.get("WEBSTORE_TEST_STORES", "25"))
# Each store's share of the controller's time, and of what a busy machine adds to it.
WITHIN = 60 + 6 * NUMBER
PLURALS = ("configmaps", "services", "serviceaccounts", "secrets", "networkpolicies", "ingresses", "deployments")
# What an operator may need of memory for itself, and for each store (its objects, its plans and Kopf's copy of it).
OWN_MIB, STORE_MIB = 100.0, 0.6


@pytest.fixture
async def operator(rights: Rights, folder: Path, kubelet: Kubelet) -> AsyncIterator[Operator]:
    async with operating(rights, folder) as operator:
        yield operator


async def test_many_webstores_at_once_of_which_some_are_faulty(
    kube: Kube, operator: Operator, namespaces: Callable[[], Awaitable[str]]
) -> None:
    await make_room(kube)
    namespace = await namespaces()
    stores = [Store(kube, namespace, f"s{n}") for n in range(NUMBER)]
    faulty: dict[str, tuple[Object, str]] = {
        "no-image": ({"version": "broken-1"}, "ImageCannotBePulled"),
        "no-secret": ({"mail": {"host": "mail.example.com", "secret": "not-there"}}, "SecretMissing"),
        "no-name": ({}, "NameTaken"),
    }
    foreign: Object = {
        "metadata": {"namespace": namespace, "name": "no-name-order"},
        "data": {"WEBSTORE_AUTH_MODE": "x"},
    }
    await kube.apply({"apiVersion": "v1", "kind": "ConfigMap", **foreign})
    await asyncio.gather(
        *(Store(kube, namespace, name).apply(spec) for name, (spec, _) in faulty.items()),
        *(store.apply() for store in stores),
    )

    await eventually("all are ready", lambda: _ready(kube, namespace, stores, 1), WITHIN, every=1)
    first = await _objects(kube, namespace, stores[0])
    assert {f"deployments/{service}" for service in SERVICES} <= first
    for store in stores:
        assert await _objects(kube, namespace, store) == first
    for name, (_, reason) in faulty.items():
        await Store(kube, namespace, name).until("Degraded", reason=reason)
    installed = memory_mib([operator.process.pid])

    await kube.delete("services", namespace, f"{stores[-1].name}-order")
    await eventually("it is repaired", lambda: kube.get("services", namespace, f"{stores[-1].name}-order"), within=5)

    # Twice, so that memory that a change would leave behind is seen.
    for generation, value in ((2, "once"), (3, "twice")):
        spec = {"ingress": {"annotations": {"example.com/changed": value}}}
        await asyncio.gather(*(store.apply(spec) for store in stores))
        await eventually(
            "all have the change", lambda g=generation: _ready(kube, namespace, stores, g), WITHIN, every=1
        )
        ingresses = await kube.list("ingresses", namespace, LABELS)
        changed = {
            b["metadata"]["name"]
            for b in ingresses
            if b["metadata"].get("annotations", {}).get("example.com/changed") == value
        }
        assert len(changed) == NUMBER * len(SERVICES)
    changed_twice = memory_mib([operator.process.pid])
    print(f"{NUMBER} WebStores: {installed:.0f} MiB, after two changes of all {changed_twice:.0f} MiB")
    assert max(installed, changed_twice) < OWN_MIB + STORE_MIB * NUMBER

    await Store(kube, namespace, "no-image").apply({"version": "1.0.0"})
    await kube.delete("configmaps", namespace, "no-name-order")
    for name in ("no-image", "no-name"):
        await Store(kube, namespace, name).until("Ready")
    assert operator.process.returncode is None
    await kube.delete("namespaces", "", namespace)  # whoever comes next need not look at them too


async def _ready(kube: Kube, namespace: str, stores: list[Store], generation: int) -> bool:
    """Whether all are Ready in that generation."""
    ready = {
        body["metadata"]["name"]
        for body in await kube.list("webstores", namespace)
        for c in body.get("status", {}).get("conditions", [])
        if (c["type"], c["status"], c["observedGeneration"]) == ("Ready", "True", generation)
    }
    return ready >= {store.name for store in stores}


async def _objects(kube: Kube, namespace: str, store: Store) -> set[str]:
    """The store's objects, by kind and the part of the name that is not the store's."""
    found = await asyncio.gather(*(store.objects(plural) for plural in PLURALS))
    return {
        f"{plural}/{name.removeprefix(f'{store.name}-')}"
        for plural, objects in zip(PLURALS, found, strict=True)
        for name in objects
    }
