"""What the operator does while it lacks a right that its chart gives it, as a newer image with an older ClusterRole."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.operator.kube import Kube, Kubelet, Object, eventually
from tests.operator.process import NAMESPACE, RELEASE, Operator, Rights, chart, operating
from tests.operator.stores import SERVICES, Store

pytestmark = pytest.mark.usefixtures("kubelet")

ALL = {"list", "watch", "create", "patch", "delete"}
# Half a minute until what was refused is tried again, and what that takes on a busy machine.
RESYNC = 90


@asynccontextmanager
async def lacking(kube: Kube, group: str, plural: str, verbs: set[str]) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The operator's ClusterRole without these verbs on a kind; gives what restores it, which the end of the block
    does too."""
    role = next(body for body in chart() if body["kind"] == "ClusterRole")

    async def restore() -> None:
        await kube.apply(role)
        await eventually("the right is there", lambda: _allowed(kube, group, plural, verbs))

    rules = [
        rule | {"resources": [r for r in rule["resources"] if r != plural]}
        for rule in role["rules"]
        if rule["resources"] != [plural]
    ]
    if verbs != ALL:
        rules.append({"apiGroups": [group], "resources": [plural], "verbs": sorted(ALL - verbs)})
    await kube.apply({**role, "rules": rules})
    try:
        await eventually("the right is gone", lambda: _allowed(kube, group, plural, verbs, want=False))
        yield restore
    finally:
        await restore()


async def _allowed(kube: Kube, group: str, plural: str, verbs: set[str], *, want: bool = True) -> bool:
    """Whether all of these are allowed, or all are not."""
    answers = []
    for verb in verbs:
        attributes: Object = {"verb": verb, "group": group, "resource": plural, "namespace": "default"}
        review = {"user": f"system:serviceaccount:{NAMESPACE}:{RELEASE}", "resourceAttributes": attributes}
        url = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        body: Object = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": review}
        answers.append((await kube.request("POST", url, json=body))["status"]["allowed"])
    return all(answer is want for answer in answers)


@pytest.mark.parametrize("verbs", [{"list", "watch"}, {"watch"}], ids=["list and watch", "watch"])
async def test_a_kind_that_may_not_be_watched_is_told_once_and_repaired_at_intervals_until_it_may(
    store: Store, rights: Rights, folder: Path, kube: Kube, verbs: set[str]
) -> None:
    async with lacking(kube, "", "services", verbs) as restore, operating(rights, folder) as operator:
        await store.apply()
        await store.until("Ready")
        told = _told(operator)
        assert len(told) == 1
        assert 'resource "services"' in told[0]
        assert "upgrade the chart webstore-operator" in told[0]
        assert await _unwatched(operator) == {"Service"}

        await kube.delete("deployments", store.namespace, "store-order")
        await eventually("what is watched is repaired at once", lambda: _has(store, "deployments"), within=5)
        for _ in range(2):
            await kube.delete("services", store.namespace, "store-order")
            await eventually("what is not is repaired at the next interval", lambda: _has(store, "services"), RESYNC)
        await store.apply({"config": {"WEBSTORE_LOG_LEVEL": "DEBUG"}})
        await store.until("Ready")
        assert _told(operator) == told

        await restore()
        await eventually("it is watched", lambda: _watches_all(operator), 2 * RESYNC)
        await kube.delete("services", store.namespace, "store-order")
        await eventually("it is repaired at once", lambda: _has(store, "services"), within=5)
        assert _told(operator) == told


async def test_a_kind_that_may_not_be_touched_holds_up_nothing_but_what_is_new(
    store: Store, rights: Rights, folder: Path, kube: Kube
) -> None:
    async with operating(rights, folder):
        await store.apply()
        await store.until("Ready")
    other = Store(kube, store.namespace, "other")
    async with lacking(kube, "policy", "poddisruptionbudgets", ALL) as restore:
        await kube.delete("deployments", store.namespace, "store-order")
        async with operating(rights, folder, ready_seconds=5) as operator:
            await eventually("the others are repaired", lambda: _has(store, "deployments"))
            assert await store.until("Degraded", reason="RightMissing", saying="poddisruptionbudgets")
            await store.apply({"version": "1.1.0"})
            await other.apply()
            for it in (store, other):
                told = await it.until("Degraded", reason="RightMissing")
                assert "upgrade the chart webstore-operator" in told["message"]
            assert len(_told(operator)) == 1
            looks = await _metric(operator, "reconciles_total")
            await eventually("the time of the change is over", lambda: _looked(operator, looks + 8))

            await restore()
            for it in (store, other):
                await it.until("Ready")
            assert (await store.get())["status"]["version"] == "1.1.0"
            assert await _metric(operator, "rollbacks_total") == 0, "what the operator may not do is no fault of it"
            assert len(await store.objects("poddisruptionbudgets")) == len(SERVICES)


async def test_the_time_in_which_the_operator_lacks_a_right_is_not_the_changes(
    store: Store, rights: Rights, folder: Path, kube: Kube, kubelet: Kubelet
) -> None:
    seconds = 10
    async with operating(rights, folder, ready_seconds=seconds) as operator:
        await store.apply()
        await store.until("Ready")
        kubelet.held = {(store.namespace, "product")}
        await store.apply({"version": "1.1.0"})
        await store.until("Progressing", reason="Updating", saying="waiting for product (0 of 1 pods ready).")
        async with lacking(kube, "policy", "poddisruptionbudgets", {"patch"}) as restore:
            await kube.delete("poddisruptionbudgets", store.namespace, "store-product")
            await store.until("Degraded", reason="RightMissing")
            await asyncio.sleep(seconds)
            await restore()
            await store.until("Progressing", reason="Updating", saying="product", within=seconds)
        kubelet.held = set()
        await store.until("Ready")
        assert await _metric(operator, "rollbacks_total") == 0
        assert (await store.get())["status"]["version"] == "1.1.0"


def _told(operator: Operator) -> list[str]:
    messages: list[str] = [json.loads(line)["message"] for line in operator.log.read_text().splitlines()]
    return [message for message in messages if "is not watched" in message]


async def _metrics(operator: Operator, name: str) -> dict[str, float]:
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://127.0.0.1:{operator.port}/metrics")).text
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(f"webstore_operator_{name}"))
    return {what: float(value) for what, value in lines}


async def _metric(operator: Operator, name: str) -> float:
    return sum((await _metrics(operator, name)).values())


async def _looked(operator: Operator, times: float) -> bool:
    return await _metric(operator, "reconciles_total") >= times


async def _unwatched(operator: Operator) -> set[str]:
    return {what.split('"')[1] for what, value in (await _metrics(operator, "unwatched")).items() if value}


async def _watches_all(operator: Operator) -> bool:
    return not await _unwatched(operator)


async def _has(store: Store, plural: str) -> bool:
    return "store-order" in await store.objects(plural)
