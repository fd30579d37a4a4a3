"""What the operator does to a store that is well."""

from tests.operator.kube import Kube, Kubelet, eventually
from tests.operator.process import Operator
from tests.operator.stores import SERVICES, Store, image


async def test_install_the_smallest_store_in_order(store: Store, operator: Operator, kubelet: Kubelet, kube: Kube) -> None:
    kubelet.held = {"postgres"}
    smallest = {"apiVersion": "webstore.dev/v1", "kind": "WebStore", "metadata": {"namespace": store.namespace, "name": "store"}}
    try:
        await kube.apply({**smallest, "spec": {}})
        told = await store.until("Progressing", reason="Installing")
        await eventually("Kafka is ready", lambda: _ready(store, "statefulsets", "store-kafka"))
        assert "postgres (0 of 1 pods ready)" in told["message"]
        assert not [name for name in await store.objects("deployments") if name != "store-mailpit"], "services wait for the database"
    finally:
        kubelet.held = set()
    ready = await store.until("Ready")
    assert "version 0.1.0" in ready["message"]
    status = (await store.get())["status"]
    assert status["version"] == "0.1.0"
    assert {name: s["pods"] for name, s in status["services"].items()} == dict.fromkeys(SERVICES, "1/1")
    assert {c["type"]: c["status"] for c in status["conditions"]} == {"Ready": "True", "Progressing": "False", "Degraded": "False"}
    assert await store.events("Installing")
    assert await store.events("Ready")


async def _ready(store: Store, plural: str, name: str) -> bool:
    body = await store.kube.get(plural, store.namespace, name)
    return bool(body and body["status"].get("readyReplicas"))
