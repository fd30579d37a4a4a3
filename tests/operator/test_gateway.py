"""A store behind a Gateway: what a Gateway says about the routes is told on the WebStore."""

from collections.abc import AsyncIterator

import pytest

from tests.operator.kube import Kube, Object, eventually
from tests.operator.stores import Store

# What of the Gateway API the operator has to do with: the kind, and its status.
DEFINITION: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "httproutes.gateway.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
    },
    "spec": {
        "group": "gateway.networking.k8s.io",
        "scope": "Namespaced",
        "names": {"plural": "httproutes", "singular": "httproute", "kind": "HTTPRoute"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@pytest.fixture(scope="module", autouse=True)
async def gateway_api(kube: Kube) -> AsyncIterator[None]:
    """The Gateway API, before the operator starts and for no other module."""
    definition = DEFINITION["metadata"]["name"]
    await kube.apply(DEFINITION)

    async def served() -> bool:
        body = await kube.get("customresourcedefinitions", "", definition)
        conditions = (body or {}).get("status", {}).get("conditions") or []
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    await eventually("the Gateway API is served", served)
    yield
    await kube.delete("customresourcedefinitions", "", definition)

    async def gone() -> bool:
        return await kube.get("customresourcedefinitions", "", definition) is None

    await eventually("it is gone", gone)


async def test_what_a_gateway_says_about_the_routes_is_told(installed: Store, kube: Kube) -> None:
    parent = {"name": "public", "namespace": "edge"}

    async def answers(status: str, reason: str, message: str) -> None:
        accepted = {"type": "Accepted", "status": status, "reason": reason, "message": message}
        for name in await installed.objects("httproutes"):
            said = {"status": {"parents": [{"parentRef": parent, "conditions": [accepted]}]}}
            await kube.patch("httproutes", installed.namespace, name, said, sub="/status")

    await installed.apply({"gateway": {"parent": parent}})
    await installed.until("Ready", saying="no Gateway public has answered for its HTTPRoutes")
    assert (await installed.condition("Degraded"))["status"] == "False"  # it may be about to
    assert not await installed.objects("ingresses")

    await answers("False", "NotAllowedByListeners", "No listener takes routes of this namespace")
    # The routes are refused one after the other, and each is told at once: the last message names all of them.
    every = "store-customer, store-order, store-product, store-shopping-command, store-shopping-query: Not"
    told = await installed.until("Degraded", reason="NotRouted", saying=every)
    assert "No listener takes routes of this namespace" in told["message"]
    assert "correct spec.gateway.parent" in told["message"]
    assert (await installed.condition("Ready"))["status"] == "True"  # the pods are

    await installed.apply({"gateway": {"parent": parent}, "config": {"WEBSTORE_LOG_LEVEL": "WARNING"}})
    await installed.until("Ready")
    still = await installed.until("Degraded", reason="NotRouted")
    assert still["lastTransitionTime"] == told["lastTransitionTime"], "a roll-out is no reason to say that it is over"

    await installed.apply({"gateway": {"parent": parent}})
    await answers("True", "Accepted", "")
    await installed.until("Degraded", "False")

    await installed.apply({"gateway": {"parent": {**parent, "name": "publik"}}})
    await installed.until("Ready", saying="no Gateway publik has answered")
