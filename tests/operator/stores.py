"""A WebStore in a namespace of its own."""

from typing import Any

from tests.operator.kube import Kube, Object, eventually

SERVICES = ("customer", "product", "order", "shopping-command", "shopping-query")
LABELS = "app.kubernetes.io/managed-by=webstore-operator"
# All that a store needs is elsewhere: nothing but the five services runs.
EXTERNAL: Object = {
    "database": {"external": {"host": "postgres.example.com"}},
    "kafka": {"external": {"bootstrapServers": "kafka.example.com:9092"}},
    "mail": {"host": "mail.example.com"},
}


class Store:
    """A WebStore; its namespace is made with it."""

    def __init__(self, kube: Kube, namespace: str, name: str = "store") -> None:
        self.kube, self.namespace, self.name = kube, namespace, name

    async def apply(self, spec: Object | None = None) -> Object:
        """`kubectl apply`, with the store's systems elsewhere unless the spec says otherwise."""
        body = {"apiVersion": "webstore.dev/v1", "kind": "WebStore", "spec": {**EXTERNAL, **(spec or {})}}
        body["metadata"] = {"namespace": self.namespace, "name": self.name}
        return await self.kube.apply(body)

    async def get(self) -> Object:
        """The WebStore."""
        found = await self.kube.get("webstores", self.namespace, self.name)
        assert found is not None
        return found

    async def condition(self, kind: str) -> Object:
        """A condition of the newest generation; empty before there is one."""
        body = await self.get()
        conditions = body.get("status", {}).get("conditions", [])
        return next(
            (c for c in conditions if c["type"] == kind and c["observedGeneration"] == body["metadata"]["generation"]),
            {},
        )

    async def until(
        self, kind: str = "Ready", status: str = "True", *, reason: str = "", saying: str = "", within: float = 180
    ) -> Object:
        """Waits for a condition of the newest generation, and returns it."""

        async def so() -> Object | None:
            condition = await self.condition(kind)
            right = (
                condition.get("status") == status and reason in condition["reason"] and saying in condition["message"]
            )
            return condition if right else None

        try:
            return await eventually(f"{self.namespace}/{self.name} is {kind}={status} {reason}", so, within)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{(await self.get()).get('status')}") from None

    async def objects(self, plural: str) -> dict[str, Object]:
        """The store's objects of a kind, by name."""
        found = await self.kube.list(plural, self.namespace, f"{LABELS},app.kubernetes.io/instance={self.name}")
        return {body["metadata"]["name"]: body for body in found}

    async def deployment(self, service: str) -> Object:
        """A service's Deployment."""
        found = await self.kube.get("deployments", self.namespace, f"{self.name}-{service}")
        assert found is not None
        return found

    async def pods(self) -> dict[str, list[str]]:
        """The uids of the pods of each part that are not on their way out."""
        pods: dict[str, list[str]] = {}
        for pod in await self.kube.list("pods", self.namespace, f"app.kubernetes.io/instance={self.name}"):
            if "deletionTimestamp" not in pod["metadata"]:
                pods.setdefault(pod["metadata"]["labels"]["app.kubernetes.io/name"], []).append(pod["metadata"]["uid"])
        return {part: sorted(uids) for part, uids in pods.items()}

    async def settled_pods(self, number: int) -> dict[str, list[str]] | None:
        """The pods, once each service has that many and no more."""
        pods = await self.pods()
        return pods if all(len(pods.get(service, [])) == number for service in SERVICES) else None

    async def events(self, reason: str) -> list[str]:
        """What was told as Events of that reason."""
        found = await self.kube.list("events", self.namespace)
        return [e["message"] for e in found if e["reason"] == reason and e["involvedObject"]["name"] == self.name]

    async def delete(self, **options: Any) -> None:
        """Deletes the WebStore."""
        await self.kube.delete("webstores", self.namespace, self.name, **options)

    async def secret(self) -> Object | None:
        """The credentials."""
        return await self.kube.get("secrets", self.namespace, f"{self.name}-credentials")


def image(deployment: Object) -> str:
    """The image of a service's own container."""
    found: str = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


async def gone(store: Store, *plurals: str) -> None:
    """Waits until nothing of these kinds is left."""
    for plural in plurals:
        await eventually(f"no {plural} are left", lambda plural=plural: _none(store, plural), 60)


async def _none(store: Store, plural: str) -> bool:
    return not await store.objects(plural)
