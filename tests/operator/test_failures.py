"""What a roll-out that fails does: it says why, the old pods go on serving, and what does not become ready in time is
rolled back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.operator.kube import Kube, Kubelet, Object, eventually
from tests.operator.process import Operator, Rights, operating
from tests.operator.stores import SERVICES, Store, image

READY_SECONDS = 15


@pytest.fixture(scope="module")
async def operator(rights: Rights, folder: Path, kubelet: Kubelet) -> AsyncIterator[Operator]:
    async with operating(rights, folder, ready_seconds=READY_SECONDS) as operator:
        yield operator


async def test_an_invalid_image_is_degraded_the_old_pods_serve_on_and_the_change_is_rolled_back(
    installed: Store,
) -> None:
    before = await installed.pods()
    await installed.apply({"version": "broken-1"})
    told = await installed.until("Degraded", reason="ImageCannotBePulled")
    first = [f"the image webstore/{service}:broken-1 cannot be pulled" for service in ("customer", "product")]
    assert any(said in told["message"] for said in first), "whichever of the first stage is seen first"
    assert (await installed.get())["status"]["version"] == "0.1.0"
    serving = await installed.pods()
    assert all(set(before[service]) <= set(serving[service]) for service in SERVICES)
    assert image(await installed.deployment("order")).endswith(":0.1.0"), "the next stage is not begun"

    told = await installed.until("Degraded", reason="RolledBack")
    assert "broken-1" in told["message"]
    assert "cannot be pulled" in told["message"]
    assert "Change the spec to try again" in told["message"]
    after = await eventually("the old pods alone are there", lambda: installed.settled_pods(1))
    assert {service: after[service] for service in SERVICES} == {service: before[service] for service in SERVICES}
    ready = await installed.until("Ready", "False", reason="RolledBack")
    assert ready["observedGeneration"] == 2, "who waits for the new spec is not told that it is there"
    assert await eventually("an Event tells of it", lambda: installed.events("RolledBack"))

    await installed.apply({"version": "1.1.0"})
    await installed.until("Ready")
    assert (await installed.get())["status"].get("rolledBack") is None


async def test_an_upgrade_that_is_not_ready_in_time_is_rolled_back_and_says_what_it_waited_for(
    installed: Store, kubelet: Kubelet
) -> None:
    kubelet.held = {(installed.namespace, "order")}
    await installed.apply({"version": "1.1.0", "config": {"WEBSTORE_LOG_LEVEL": "DEBUG"}})
    told = await installed.until("Degraded", reason="RolledBack")
    kubelet.held = set()
    assert f"not ready in {READY_SECONDS} s" in told["message"]
    assert "order (0 of 1 pods ready)" in told["message"]
    await installed.until("Progressing", "False", reason="RolledBack")
    for service in SERVICES:
        assert image(await installed.deployment(service)).endswith(":0.1.0")
        assert (await installed.objects("configmaps"))[f"store-{service}"]["data"].get("WEBSTORE_LOG_LEVEL") != "DEBUG"


async def test_a_roll_out_that_goes_forward_or_is_paused_is_not_given_up(installed: Store, kubelet: Kubelet) -> None:
    product = (installed.namespace, "product")
    await installed.apply({"services": {"product": {"replicas": 2}}})
    await installed.until("Ready")
    new = {"version": "1.1.0", "services": {"product": {"replicas": 2}}}
    kubelet.held = {product}
    await installed.apply(new)
    await eventually("the first new pod starts", lambda: kubelet.holds(product))
    await asyncio.sleep(READY_SECONDS * 0.55)
    kubelet.release_one(product)
    await eventually("the second new pod starts", lambda: kubelet.holds(product))
    await asyncio.sleep(READY_SECONDS * 0.55)
    assert (await installed.condition("Progressing"))["reason"] == "Updating", "a pod became ready meanwhile"

    await installed.apply({**new, "paused": True})
    await installed.until("Progressing", "False", reason="Paused")
    await asyncio.sleep(READY_SECONDS)
    await installed.apply({**new, "paused": False})
    await installed.until("Progressing", reason="Updating")
    kubelet.held = set()
    await installed.until("Ready")
    assert not await installed.events("RolledBack")
    assert image(await installed.deployment("shopping-query")).endswith(":1.1.0")


async def test_a_change_that_was_given_up_has_its_whole_time_when_it_is_tried_again_before_the_store_is_well(
    installed: Store, kubelet: Kubelet, kube: Kube
) -> None:
    product = (installed.namespace, "product")
    kubelet.held = {product}
    await installed.apply({"version": "1.1.0"})
    await eventually("the new pod starts", lambda: kubelet.holds(product))
    # With no pod left that is ready, the store stays in need of recovery.
    for pod in await kube.list("pods", installed.namespace, "app.kubernetes.io/name=product"):
        await kube.delete("pods", installed.namespace, pod["metadata"]["name"])
    await installed.until("Progressing", reason="RollingBack")
    await installed.apply()
    await installed.until("Progressing", reason="Recovering", saying="product")
    await installed.apply({"version": "1.1.0"})
    await installed.until("Progressing", reason="Updating", saying="product", within=READY_SECONDS)
    kubelet.held = set()
    await installed.until("Ready")
    assert image(await installed.deployment("product")).endswith(":1.1.0")


async def test_a_roll_out_that_was_begun_by_a_clock_that_is_ahead_is_given_up_in_its_time(
    installed: Store, kubelet: Kubelet, kube: Kube
) -> None:
    kubelet.held = {(installed.namespace, "product")}
    await installed.apply({"version": "1.1.0"})
    await installed.until("Progressing", reason="Updating", saying="waiting for product (0 of 1 pods ready).")
    ahead = {"status": {"rollout": {"since": "2999-01-01T00:00:00Z"}}}
    await kube.patch("webstores", installed.namespace, installed.name, ahead, sub="/status")
    await installed.until("Degraded", reason="RolledBack", within=READY_SECONDS * 3)
    kubelet.held = set()


async def test_a_first_roll_out_that_fails_has_nothing_to_go_back_to_and_goes_on_when_corrected(
    store: Store, operator: Operator
) -> None:
    await store.apply({"version": "broken-1"})
    told = await store.until("Degraded", reason="ImageCannotBePulled")
    assert "broken-1" in told["message"]
    await store.apply({"version": "1.0.0"})
    await store.until("Ready")
    assert (await store.get())["status"]["version"] == "1.0.0"


async def test_secrets_that_do_not_exist_yet_are_waited_for_by_name(
    store: Store, operator: Operator, kube: Kube
) -> None:
    database: Object = {"external": {"host": "postgres.example.com", "secret": "shop-database"}}
    await store.apply({"database": database, "mail": {"host": "smtp.example.com", "secret": "shop-mail"}})
    told = await store.until("Progressing", reason="WaitingForSecret")
    assert "The Secret shop-database" in told["message"]
    assert "customer-password" in told["message"]
    assert "shop-mail" in (await store.condition("Degraded"))["message"]
    assert not await store.objects("deployments")
    keys = {f"{service}-password": "x" for service in SERVICES}
    for name, data in (("shop-database", keys), ("shop-mail", {"username": "a"})):
        metadata = {"namespace": store.namespace, "name": name}
        await kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
    told = await store.until("Progressing", reason="WaitingForSecret", saying="shop-mail")
    assert "create it with the key password" in told["message"]
    await kube.patch("secrets", store.namespace, "shop-mail", {"stringData": {"password": "b"}})
    await store.until("Ready")


async def test_a_store_goes_on_as_it_was_while_a_new_spec_waits_for_its_secret(installed: Store, kube: Kube) -> None:
    before = await installed.pods()
    await installed.apply({"mail": {"host": "mail.example.com", "secret": "not-there"}, "version": "1.1.0"})
    await installed.until("Progressing", reason="WaitingForSecret")
    await kube.delete("services", installed.namespace, "store-order")

    async def back() -> bool:
        return "store-order" in await installed.objects("services")

    await eventually("it is repaired as it was", back, within=5)
    assert await installed.pods() == before


async def test_an_object_that_the_api_server_refuses_is_told_and_the_change_rolled_back(
    installed: Store, kube: Kube
) -> None:
    quota = {"hard": {"count/services": "0"}}
    metadata = {"namespace": installed.namespace, "name": "full"}
    await kube.request(
        "POST", f"/api/v1/namespaces/{installed.namespace}/resourcequotas", json={"metadata": metadata, "spec": quota}
    )

    async def counted() -> bool:
        body = await kube.request("GET", f"/api/v1/namespaces/{installed.namespace}/resourcequotas/full")
        return "count/services" in body.get("status", {}).get("used", {})

    await eventually("the quota is in force", counted)
    await installed.apply({"mail": {"host": ""}})
    told = await installed.until("Degraded", reason="Refused")
    assert "The API server refuses the Service store-mailpit" in told["message"]
    assert "exceeded quota" in told["message"]
    await installed.until("Degraded", reason="RolledBack", saying="exceeded quota")


async def test_while_a_change_is_refused_its_status_says_so_and_what_has_not_had_its_turn_is_repaired_as_it_was(
    installed: Store, kube: Kube
) -> None:
    await installed.apply({"gateway": {"parent": {"name": "public"}}})
    await installed.until("Degraded", reason="NoHTTPRoute")
    told = await installed.condition("Progressing")
    assert told["message"] == "Version 0.1.0: waiting for an object that is refused."
    await kube.delete("deployments", installed.namespace, "store-shopping-query")

    async def back() -> bool:
        return "store-shopping-query" in await installed.objects("deployments")

    await eventually("it is back", back, within=5)
    await installed.until("Degraded", reason="RolledBack", saying="install the Gateway API")


async def test_without_the_gateway_api_a_store_that_asks_for_it_says_so(store: Store, operator: Operator) -> None:
    await store.apply({"gateway": {"parent": {"name": "public"}}})
    told = await store.until("Degraded", reason="NoHTTPRoute")
    assert "install the Gateway API" in told["message"]


async def test_a_pod_of_a_statefulset_that_an_older_template_left_broken_does_not_block_the_next(
    store: Store, operator: Operator, kube: Kube
) -> None:
    """The controller itself waits for ever:
    https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback"""
    await store.apply({"database": {}})
    await store.until("Ready")
    pause = {"database": {}, "paused": True}
    await store.apply(pause)
    await store.until("Progressing", "False", reason="Paused")
    wrong = {"spec": {"template": {"spec": {"containers": [{"name": "postgres", "image": "postgres:broken"}]}}}}
    headers = {"Content-Type": "application/strategic-merge-patch+json"}
    url = f"/apis/apps/v1/namespaces/{store.namespace}/statefulsets/store-postgres"
    await kube.request("PATCH", url, json=wrong, headers=headers)

    async def broken() -> bool:
        pods = await kube.list("pods", store.namespace, "app.kubernetes.io/name=postgres")
        return (
            bool(pods)
            and ":broken" in pods[0]["spec"]["containers"][0]["image"]
            and "containerStatuses" in pods[0]["status"]
        )

    await eventually("the pod is broken", broken)
    await store.apply({"database": {}})
    await store.until("Ready")
