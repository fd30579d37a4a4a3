"""A real API server as the tests see it, and a kubelet of the tests' own: the server has no nodes."""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

Object = dict[str, Any]
Found = TypeVar("Found")

GROUPS = {
    "webstores": "apis/webstore.dev/v1",
    "deployments": "apis/apps/v1",
    "statefulsets": "apis/apps/v1",
    "ingresses": "apis/networking.k8s.io/v1",
    "networkpolicies": "apis/networking.k8s.io/v1",
    "horizontalpodautoscalers": "apis/autoscaling/v2",
    "poddisruptionbudgets": "apis/policy/v1",
    "customresourcedefinitions": "apis/apiextensions.k8s.io/v1",
    "clusterroles": "apis/rbac.authorization.k8s.io/v1",
    "clusterrolebindings": "apis/rbac.authorization.k8s.io/v1",
    "roles": "apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "apis/rbac.authorization.k8s.io/v1",
    "leases": "apis/coordination.k8s.io/v1",
    "httproutes": "apis/gateway.networking.k8s.io/v1",
    "servicecidrs": "apis/networking.k8s.io/v1",
}


async def eventually(
    what: str, found: Callable[[], Awaitable[Found]], within: float = 180, every: float = 0.1
) -> Found:
    """Asks again and again until the answer is true, and returns it; the limit is for what never comes.

    Raises:
        AssertionError: it was not within that many seconds.
    """
    deadline = time.monotonic() + within
    while True:
        answer = await found()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within:g} s: {what} (last seen: {answer!r})"
        await asyncio.sleep(every)


class Refused(Exception):
    """The API server said no."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(answer.json().get("message", answer.text))
        self.status = answer.status_code


class Kube:
    """The API server that a kubeconfig names, asked as its administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        self.server: str = cluster["server"]
        self.authority = _pem(cluster, "certificate-authority")
        self.trust = trust = ssl.create_default_context(cadata=self.authority)
        if "client-certificate" in user or "client-certificate-data" in user:
            folder = kubeconfig.parent / "webstore-tests"
            folder.mkdir(mode=0o700, exist_ok=True)
            for name in ("client-certificate", "client-key"):
                (folder / name).write_text(_pem(user, name))
            trust.load_cert_chain(folder / "client-certificate", folder / "client-key")
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        limits = httpx.Limits(max_connections=200)
        self.http = httpx.AsyncClient(
            base_url=self.server, headers=headers, verify=trust, timeout=60, trust_env=False, limits=limits
        )

    async def request(self, method: str, path: str, **options: Any) -> Object:
        """A request whose answer must be good."""
        answer = await self.http.request(method, path, **options)
        if answer.is_error:
            raise Refused(answer)
        body: Object = answer.json()
        return body

    async def apply(self, body: Object, *, manager: str = "tests") -> Object:
        """Server-side apply, with unknown fields refused."""
        metadata = body["metadata"]
        plural = body["kind"].lower() + ("es" if body["kind"].endswith("s") else "s")
        plural = plural.replace("policys", "policies")
        url = path(plural, metadata.get("namespace", ""), metadata["name"])
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        return await self.request("PATCH", url, params=query, content=json.dumps(body), headers=headers)

    async def get(self, plural: str, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        answer = await self.http.get(path(plural, namespace, name))
        return None if answer.status_code == 404 else answer.raise_for_status().json()

    async def list(self, plural: str, namespace: str = "", labels: str = "") -> list[Object]:
        """The objects of a kind."""
        found = await self.request("GET", path(plural, namespace), params={"labelSelector": labels} if labels else None)
        items: list[Object] = found["items"]
        return items

    async def patch(
        self, plural: str, namespace: str, name: str, patch: Object, *, sub: str = "", manager: str = "someone"
    ) -> Object:
        """A merge patch, as `kubectl edit` and controllers make them."""
        headers = {"Content-Type": "application/merge-patch+json"}
        url = path(plural, namespace, name) + sub
        return await self.request(
            "PATCH", url, content=json.dumps(patch), headers=headers, params={"fieldManager": manager}
        )

    async def delete(self, plural: str, namespace: str, name: str, **body: Any) -> None:
        """Deletes it, if it is there."""
        answer = await self.http.request("DELETE", path(plural, namespace, name), json=body or None)
        if answer.is_error and answer.status_code != 404:
            raise Refused(answer)


def path(plural: str, namespace: str = "", name: str = "") -> str:
    """Where the API server has it."""
    group = GROUPS.get(plural, "api/v1")
    return f"/{group}" + (f"/namespaces/{namespace}" if namespace else "") + f"/{plural}" + (f"/{name}" if name else "")


async def make_room(kube: Kube) -> None:
    """Gives Services 65,534 addresses more: the 253 of the server's own range are those of 50 stores.

    https://kubernetes.io/docs/tasks/network/extend-service-ip-ranges/
    """
    name = "webstore-tests"
    await kube.apply({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "spec": {"cidrs": ["10.200.0.0/16"]},
    })  # fmt: skip

    async def ready() -> bool:
        body = await kube.get("servicecidrs", "", name)
        return bool(body and any(c["status"] == "True" for c in body.get("status", {}).get("conditions", [])))

    await eventually("the addresses can be had", ready)


class Kubelet:
    """Reports pods as running and ready, as their kubelets would, save those whose image is called `…:broken-…`.

    Attributes:
        held: (namespace, part of a store) whose new pods stay as they are until they are taken out.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.held: set[tuple[str, str]] = set()
        self._waiting: dict[str, Object] = {}
        self._released: set[str] = set()

    async def run(self) -> None:
        """Acts until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._release())
            while True:
                try:
                    async for pod in self._changed():
                        group.create_task(self._report(pod))
                except httpx.HTTPError:
                    await asyncio.sleep(0.1)

    async def holds(self, part: tuple[str, str]) -> bool:
        """Whether a pod of a part is held."""
        return any(_part(pod) == part for pod in self._waiting.values())

    def release_one(self, part: tuple[str, str]) -> None:
        """Has the one held pod of a part become ready; those after it are held again."""
        (uid,) = [uid for uid, pod in self._waiting.items() if _part(pod) == part]
        self._released.add(uid)

    async def _changed(self) -> AsyncIterator[Object]:
        url = path("pods")
        query = {"labelSelector": "app.kubernetes.io/part-of=webstore"}
        found = await self._kube.request("GET", url, params=query)
        for pod in found["items"]:
            yield pod
        query |= {"watch": "true", "resourceVersion": found["metadata"]["resourceVersion"]}
        async with self._kube.http.stream("GET", url, params=query, timeout=None) as answer:
            async for line in answer.aiter_lines():
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED"):
                    yield event["object"]

    async def _release(self) -> None:
        while True:
            for uid, pod in list(self._waiting.items()):
                if _part(pod) not in self.held or uid in self._released:
                    del self._waiting[uid]
                    await self._report(pod)
            await asyncio.sleep(0.1)

    async def _report(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if _part(pod) in self.held and metadata["uid"] not in self._released:
            self._waiting[metadata["uid"]] = pod
        elif status := _status(pod):
            try:
                await self._kube.patch(
                    "pods", metadata["namespace"], metadata["name"], {"status": status}, sub="/status"
                )
            except Refused as refused:
                if refused.status not in (404, 409):
                    raise


def _part(pod: Object) -> tuple[str, str]:
    return pod["metadata"]["namespace"], pod["metadata"]["labels"]["app.kubernetes.io/name"]


def _status(pod: Object) -> Object | None:
    """What is to be reported about the pod; None if that is reported already."""
    containers = pod["spec"]["containers"]
    if "deletionTimestamp" in pod["metadata"] or pod["status"].get("containerStatuses"):
        return None
    broken = [c for c in containers if ":broken" in c["image"]]
    if broken:
        waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{broken[0]["image"]}"'}
        return _pod_status("Pending", False, containers, {"waiting": waiting})
    return _pod_status("Running", True, containers, {"running": {"startedAt": _now()}})


def _pod_status(phase: str, ready: bool, containers: list[Object], state: Object) -> Object:
    word = "True" if ready else "False"
    conditions = [{"type": kind, "status": word, "lastTransitionTime": _now()} for kind in ("Ready", "ContainersReady")]
    statuses = [
        {
            "name": c["name"],
            "image": c["image"],
            "imageID": "",
            "ready": ready,
            "restartCount": 0,
            "started": ready,
            "state": state,
        }
        for c in containers
    ]
    return {"phase": phase, "conditions": conditions, "containerStatuses": statuses}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _pem(entry: Object, name: str) -> str:
    if f"{name}-data" in entry:
        return base64.b64decode(entry[f"{name}-data"]).decode()
    return Path(entry[name]).read_text()


@asynccontextmanager
async def running(kubelet: Kubelet) -> AsyncIterator[Kubelet]:
    """A kubelet at work."""
    task = asyncio.create_task(kubelet.run())
    try:
        yield kubelet
    finally:
        task.cancel()
