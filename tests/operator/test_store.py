"""What the operator does to a store that is well: every sentence of what it is for."""

import base64
import time

import httpx
import pytest

from tests.operator.kube import Kube, Kubelet, Object, eventually
from tests.operator.process import Operator
from tests.operator.stores import SERVICES, Store, gone, image

pytestmark = pytest.mark.usefixtures("operator")

OWNED = (
    "serviceaccounts",
    "secrets",
    "configmaps",
    "networkpolicies",
    "services",
    "poddisruptionbudgets",
    "deployments",
    "ingresses",
)


async def test_install_the_smallest_store_systems_first(store: Store, kubelet: Kubelet, kube: Kube) -> None:
    kubelet.held = {(store.namespace, "postgres")}
    smallest = {"apiVersion": "webstore.dev/v1", "kind": "WebStore"}
    await kube.apply({**smallest, "metadata": {"namespace": store.namespace, "name": "store"}, "spec": {}})
    await eventually("Kafka is ready", lambda: _ready(store, "statefulsets", "store-kafka"))
    told = await store.until("Progressing", reason="Installing", saying="waiting for postgres (0 of 1 pods ready)")
    assert (await store.condition("Ready"))["message"] == told["message"], "who asks why it is not ready reads the same"
    assert set(await store.objects("deployments")) == {"store-mailpit"}, "services wait for the database"
    kubelet.held = set()
    ready = await store.until("Ready")
    assert "version 0.1.0" in ready["message"]
    status = (await store.get())["status"]
    assert status["version"] == "0.1.0"
    assert {name: s["pods"] for name, s in status["services"].items()} == dict.fromkeys(SERVICES, "1/1")
    found = {c["type"]: c["status"] for c in status["conditions"]}
    assert found == {"Ready": "True", "Progressing": "False", "Degraded": "False"}
    assert await eventually("Events tell of it", lambda: store.events("Installing"))
    assert await eventually("Events tell of it", lambda: store.events("Ready"))


async def test_configure_a_changed_setting_rolls_exactly_the_pods_that_read_it(installed: Store) -> None:
    before = await installed.pods()
    await installed.apply({"services": {"order": {"config": {"WEBSTORE_LOG_LEVEL": "DEBUG"}}}})
    await installed.until("Ready")
    after = await eventually("old pods are gone", lambda: installed.settled_pods(1))
    assert {part for part in before if before[part] != after[part]} == {"order"}
    assert (await installed.objects("configmaps"))["store-order"]["data"]["WEBSTORE_LOG_LEVEL"] == "DEBUG"


async def test_scale_by_replicas_and_a_scaling_by_hand_is_put_back(store: Store, kube: Kube) -> None:
    await store.apply({"services": {"product": {"replicas": 3}}})
    await store.until("Ready")
    assert (await store.get())["status"]["services"]["product"]["pods"] == "3/3"
    await kube.patch(
        "deployments", store.namespace, "store-product", {"spec": {"replicas": 1}}, sub="/scale", manager="kubectl"
    )
    await eventually("three replicas", lambda: _replicas(store, "product", 3), within=5)


async def test_scale_by_an_autoscaler_without_fighting_it(store: Store, kube: Kube) -> None:
    fixed = {"services": {"product": {"replicas": 3}}}
    scaled = {
        "services": {"product": {"autoscaling": {"min": 2, "max": 6}, "resources": {"requests": {"cpu": "100m"}}}}
    }
    await store.apply(fixed)
    await store.until("Ready")
    await store.apply(scaled)
    await store.until("Ready")
    assert (await store.deployment("product"))["spec"]["replicas"] == 3, "going over to the autoscaler keeps the pods"
    assert (await store.objects("horizontalpodautoscalers"))["store-product"]["spec"]["maxReplicas"] == 6
    # What the autoscaler does: it sets the number by the scale subresource.
    to_five = {"spec": {"replicas": 5}}
    await kube.patch(
        "deployments", store.namespace, "store-product", to_five, sub="/scale", manager="kube-controller-manager"
    )
    await store.apply({**scaled, "config": {"WEBSTORE_LOG_LEVEL": "DEBUG"}})
    await store.until("Ready")
    assert (await store.deployment("product"))["spec"]["replicas"] == 5, (
        "an upgrade leaves the autoscaler's number alone"
    )
    await store.apply(fixed)
    await store.until("Ready")
    assert (await store.deployment("product"))["spec"]["replicas"] == 3
    assert not await store.objects("horizontalpodautoscalers")


async def test_repair_what_is_deleted_comes_back_within_five_seconds(installed: Store, kube: Kube) -> None:
    for plural in OWNED:
        before = {name: body["metadata"]["uid"] for name, body in (await installed.objects(plural)).items()}
        assert before, f"a store has {plural}"
        began = time.monotonic()
        for name in before:
            await kube.delete(plural, installed.namespace, name)

        async def back(plural: str = plural, before: dict[str, str] = before) -> bool:
            now = {name: body["metadata"]["uid"] for name, body in (await installed.objects(plural)).items()}
            return now.keys() == before.keys() and not set(now.values()) & set(before.values())

        await eventually(f"{plural} come back", back, within=5)
        print(f"{plural}: back after {time.monotonic() - began:.1f} s")
    await installed.until("Ready")
    assert await eventually("an Event tells of it", lambda: installed.events("Repaired"))


@pytest.mark.parametrize(
    ("plural", "name", "change"),
    [
        ("configmaps", "store-order", {"data": {"WEBSTORE_PORT": "9"}}),
        ("configmaps", "store-order", {"data": {"WEBSTORE_HOST": None}}),
        ("deployments", "store-order", {"spec": {"template": {"spec": {"serviceAccountName": "default"}}}}),
        ("services", "store-order", {"spec": {"selector": {"app.kubernetes.io/name": "nothing"}}}),
        ("networkpolicies", "store-order", {"spec": {"policyTypes": ["Egress"]}}),
        ("deployments", "store-order", {"metadata": {"labels": {"app.kubernetes.io/component": "mine"}}}),
    ],
)
async def test_repair_what_is_changed_is_put_back_within_five_seconds(
    installed: Store, kube: Kube, plural: str, name: str, change: Object
) -> None:
    before = _content((await installed.objects(plural))[name])
    if plural == "configmaps":
        # whichever settings the chart puts there
        key = next(iter(before["data"]))
        change = {"data": {key: None if None in change["data"].values() else "changed"}}
    changed = await kube.patch(plural, installed.namespace, name, change)
    assert _content(changed) != before

    async def as_before() -> bool:
        return _content((await installed.objects(plural))[name]) == before

    await eventually("it is put back", as_before, within=5)


async def test_repair_goes_on_while_an_object_waits_for_a_finalizer_of_somebody_else(
    installed: Store, kube: Kube
) -> None:
    held: Object = {"metadata": {"finalizers": ["example.com/held"]}}
    await kube.patch("services", installed.namespace, "store-order", held)
    await kube.delete("services", installed.namespace, "store-order")
    told = await installed.until("Progressing", reason="WaitingForRemoval")
    assert "The Service store-order is being deleted" in told["message"]
    await kube.delete("deployments", installed.namespace, "store-product")

    async def back() -> bool:
        return "store-product" in await installed.objects("deployments")

    try:
        await eventually("the others are repaired", back, within=5)
    finally:
        await kube.patch("services", installed.namespace, "store-order", {"metadata": {"finalizers": None}})
    await installed.until("Ready")


async def test_repair_what_is_given_to_another_store_by_its_label(installed: Store, kube: Kube) -> None:
    label = "app.kubernetes.io/instance"
    await kube.patch("services", installed.namespace, "store-order", {"metadata": {"labels": {label: "other"}}})

    async def back() -> bool:
        return "store-order" in await installed.objects("services")

    await eventually("it is put back", back, within=5)


async def test_fields_that_others_own_are_left_alone(installed: Store, kube: Kube) -> None:
    note = {"metadata": {"annotations": {"example.com/note": "mine"}}}
    for plural in ("deployments", "services", "configmaps"):
        await kube.patch(plural, installed.namespace, "store-order", note)
    await installed.apply({"config": {"WEBSTORE_LOG_LEVEL": "DEBUG"}})
    await installed.until("Ready")
    for plural in ("deployments", "services", "configmaps"):
        body = (await installed.objects(plural))["store-order"]
        assert body["metadata"]["annotations"]["example.com/note"] == "mine"


async def test_upgrade_in_order_with_health_gates(installed: Store, kubelet: Kubelet) -> None:
    kubelet.held = {(installed.namespace, "product")}
    await installed.apply({"version": "1.1.0"})
    told = await installed.until("Progressing", reason="Updating", saying="waiting for product")
    assert "1.1.0" in told["message"]
    await eventually("customer is new", lambda: _version(installed, "customer", "1.1.0"))
    for later in ("order", "shopping-command", "shopping-query"):
        assert image(await installed.deployment(later)).endswith(":0.1.0"), "they wait for what they call"
    assert (await installed.get())["status"]["version"] == "0.1.0"
    kubelet.held = {(installed.namespace, "order")}
    await installed.until("Progressing", reason="Updating", saying="waiting for order")
    assert image(await installed.deployment("shopping-command")).endswith(":1.1.0")
    assert image(await installed.deployment("shopping-query")).endswith(":0.1.0")
    kubelet.held = set()
    await installed.until("Ready")
    status = (await installed.get())["status"]
    assert status["version"] == "1.1.0"
    assert {s["version"] for s in status["services"].values()} == {"1.1.0"}


async def test_what_waits_for_its_turn_in_an_upgrade_is_repaired_as_it_was(
    installed: Store, kubelet: Kubelet, kube: Kube
) -> None:
    kubelet.held = {(installed.namespace, "product")}
    await installed.apply({"version": "1.1.0"})
    await installed.until("Progressing", reason="Updating", saying="waiting for product")
    await kube.delete("deployments", installed.namespace, "store-shopping-query")
    await eventually("it is back", lambda: _version(installed, "shopping-query", "0.1.0"), within=5)
    kubelet.held = set()
    await installed.until("Ready")


async def test_roll_back_by_setting_the_old_version(store: Store) -> None:
    for version in ("1.1.0", "1.0.0"):
        await store.apply({"version": version})
        await store.until("Ready")
        assert {image(await store.deployment(service)).split(":")[-1] for service in SERVICES} == {version}
    assert (await store.get())["status"]["version"] == "1.0.0"


async def test_pause_and_resume(installed: Store, kube: Kube) -> None:
    await installed.apply({"version": "1.1.0", "paused": True})
    told = await installed.until("Progressing", "False", reason="Paused")
    assert "spec.paused" in told["message"]
    await kube.delete("services", installed.namespace, "store-order")
    # Another store is repaired in the meantime: the operator had its chance.
    other = Store(kube, installed.namespace, "other")
    await other.apply()
    await other.until("Ready")
    assert "store-order" not in await installed.objects("services")
    assert await _version(installed, "order", "0.1.0")
    await installed.apply({"version": "1.1.0", "paused": False})
    await installed.until("Ready")
    assert await _version(installed, "order", "1.1.0")
    assert "store-order" in await installed.objects("services")


async def test_prune_what_the_spec_no_longer_asks_for(store: Store) -> None:
    await store.apply({"mail": {}})
    await store.until("Ready")
    assert "store-mailpit" in await store.objects("deployments")
    assert await store.objects("ingresses")
    await store.apply({"ingress": {"enabled": False}, "networkPolicies": False})
    await store.until("Ready")
    assert set(await store.objects("deployments")) == {f"store-{service}" for service in SERVICES}
    for plural in ("ingresses", "networkpolicies"):
        assert not await store.objects(plural)
    assert "store-mailpit" not in await store.objects("services")


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_delete_by_policy(store: Store, kube: Kube, policy: str) -> None:
    await store.apply({"database": {}, "deletionPolicy": policy})
    await store.until("Ready")
    await eventually("the volume's claim says whose it is", lambda: _claim_follows(store, policy))
    await store.delete()
    await gone(store, *OWNED, "statefulsets")
    kept = [claim["metadata"]["name"] for claim in await kube.list("persistentvolumeclaims", store.namespace)]
    if policy == "Retain":
        assert kept == ["data-store-postgres-0"]
    else:
        await eventually("the volume goes too", lambda: _no_claims(store))


async def test_a_store_of_the_same_name_can_be_made_at_once(installed: Store) -> None:
    first = (await installed.secret() or {})["data"]
    await installed.delete()
    await installed.apply()
    await installed.until("Ready")
    uid = (await installed.get())["metadata"]["uid"]
    secret = await installed.secret()
    assert secret is not None
    assert secret["data"] != first
    for plural in OWNED:
        for body in (await installed.objects(plural)).values():
            assert [o["uid"] for o in body["metadata"]["ownerReferences"]] == [uid]


async def test_credentials_are_generated_once_never_logged_and_rotated_when_deleted(
    installed: Store, kube: Kube, operator: Operator
) -> None:
    first = await installed.secret()
    assert first is not None
    assert len(first["data"]) == 7
    assert all(len(value) >= 32 for value in first["data"].values())
    await installed.apply({"version": "1.1.0"})
    await installed.until("Ready")
    assert (await installed.secret() or {})["data"] == first["data"], "kept over upgrades"
    pods = await installed.pods()
    await kube.delete("secrets", installed.namespace, "store-credentials")

    async def another() -> Object | None:
        secret = await installed.secret()
        return secret if secret and secret["data"] != first["data"] else None

    second = await eventually("new credentials", another, within=5)
    assert not set(second["data"].values()) & set(first["data"].values())

    async def rolled() -> bool:
        now = await installed.settled_pods(1)
        return bool(now) and all(now[part] != pods[part] for part in SERVICES)

    await eventually("all pods that read them are replaced", rolled)
    await installed.until("Ready")
    log = operator.log.read_text()
    for value in [*first["data"].values(), *second["data"].values()]:
        assert value not in log
        assert base64.b64decode(value).decode() not in log


async def test_a_credential_that_somebody_takes_out_is_made_anew(installed: Store, kube: Kube) -> None:
    await kube.patch("secrets", installed.namespace, "store-credentials", {"data": {"order-password": None}})

    async def whole() -> bool:
        return "order-password" in (await installed.secret() or {}).get("data", {})

    await eventually("it is there again", whole, within=5)


@pytest.mark.parametrize(
    ("api", "kind", "plural", "content"),
    [
        ("v1", "ConfigMap", "configmaps", {"data": {"WEBSTORE_AUTH_MODE": "theirs"}}),
        ("v1", "ConfigMap", "configmaps", {"data": {"colour": "theirs"}}),
        ("v1", "ServiceAccount", "serviceaccounts", {}),
        ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", {"spec": {"podSelector": {}}}),
    ],
)
@pytest.mark.parametrize("labels", [{}, {"app.kubernetes.io/managed-by": "Helm"}], ids=["no label", "of Helm"])
async def test_what_belongs_to_somebody_else_is_not_taken_over(
    store: Store, kube: Kube, api: str, kind: str, plural: str, content: Object, labels: Object
) -> None:
    metadata = {"namespace": store.namespace, "name": "store-order", "labels": labels}
    theirs = await kube.apply({"apiVersion": api, "kind": kind, "metadata": metadata, **content})
    await store.apply()
    await store.until("Degraded", reason="NameTaken", saying=f"The {kind} store-order is there already")
    assert await kube.get(plural, store.namespace, "store-order") == theirs
    await kube.delete(plural, store.namespace, "store-order")
    await store.until("Ready")


async def test_a_label_on_the_credentials_restarts_nothing(installed: Store, kube: Kube) -> None:
    before = await installed.pods()
    await kube.patch("secrets", installed.namespace, "store-credentials", {"metadata": {"labels": {"team": "shop"}}})
    await installed.apply({"services": {"customer": {"config": {"WEBSTORE_LOG_LEVEL": "DEBUG"}}}})
    await installed.until("Ready")
    after = await installed.pods()
    assert {part for part in before if before[part] != after[part]} == {"customer"}


async def test_the_webstore_gets_no_finalizer_and_no_annotation(installed: Store) -> None:
    metadata = (await installed.get())["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata


async def test_a_look_at_a_store_that_is_well_writes_nothing(installed: Store, kube: Kube) -> None:
    before = await _versions(installed)
    await kube.patch("webstores", installed.namespace, "store", {"metadata": {"labels": {"look": "again"}}})
    await kube.patch("services", installed.namespace, "store-order", {"metadata": {"annotations": {"look": "again"}}})
    other = Store(kube, installed.namespace, "other")
    await other.apply()
    await other.until("Ready")
    after = await _versions(installed)
    assert {ref for ref in before if before[ref] != after[ref]} == {("services", "store-order")}


async def test_the_url_is_the_hosts_or_the_address_that_the_ingress_controller_reports(
    installed: Store, kube: Kube
) -> None:
    report = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}
    await kube.patch("ingresses", installed.namespace, "store-order", report, sub="/status")

    async def url(wanted: str) -> bool:
        return (await installed.get()).get("status", {}).get("url") == wanted

    await eventually("the address", lambda: url("http://192.0.2.7"))
    secret = {"namespace": installed.namespace, "name": "certificate"}
    data = {"tls.crt": "", "tls.key": ""}
    await kube.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": secret, "type": "kubernetes.io/tls", "stringData": data}
    )
    await installed.apply({"ingress": {"host": "shop.example.com", "tlsSecret": "certificate"}})
    await eventually("the host", lambda: url("https://shop.example.com"))


async def test_metrics_and_probes(installed: Store, operator: Operator) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{operator.port}", trust_env=False) as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200

        async def counted() -> bool:
            lines = dict(
                line.rsplit(" ", 1) for line in (await client.get("/metrics")).text.splitlines() if line[0] != "#"
            )
            names = ("webstore_operator_reconciles_total", "webstore_operator_reconcile_seconds_sum")
            return (
                float(lines['webstore_operator_stores{state="ready"}']) >= 1
                and float(lines["webstore_operator_leading"]) == 1
                and float(lines["webstore_operator_objects"]) > 20
                and all(any(line.startswith(name) for line in lines) for name in names)
            )

        await eventually("the ready store is counted", counted)


def _content(body: Object) -> Object:
    metadata = {key: body["metadata"].get(key) for key in ("labels", "ownerReferences")}
    return {key: value for key, value in body.items() if key not in ("metadata", "status")} | {"metadata": metadata}


async def _ready(store: Store, plural: str, name: str) -> bool:
    body = await store.kube.get(plural, store.namespace, name)
    return bool(body and body["status"].get("readyReplicas"))


async def _replicas(store: Store, service: str, number: int) -> bool:
    replicas: int = (await store.deployment(service))["spec"]["replicas"]
    return replicas == number


async def _version(store: Store, service: str, version: str) -> bool:
    deployment = (await store.objects("deployments")).get(f"store-{service}")
    return deployment is not None and image(deployment).endswith(f":{version}")


async def _versions(store: Store) -> dict[tuple[str, str], str]:
    return {
        (plural, name): body["metadata"]["resourceVersion"]
        for plural in OWNED
        for name, body in (await store.objects(plural)).items()
    }


async def _claim_follows(store: Store, policy: str) -> bool:
    claims = await store.kube.list("persistentvolumeclaims", store.namespace)
    return len(claims) == 1 and bool(claims[0]["metadata"].get("ownerReferences")) == (policy == "Delete")


async def _no_claims(store: Store) -> bool:
    claims = await store.kube.list("persistentvolumeclaims", store.namespace)
    # Without nodes nothing takes the protection from a claim: that it is being deleted is enough.
    return all("deletionTimestamp" in claim["metadata"] for claim in claims)
