"""What a store should consist of: spec → Helm values → `helm template` → objects. The cluster is not asked."""

import asyncio
import hashlib
import json
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from webstore_operator.kinds import KINDS
from webstore_operator.metrics import RENDERS
from webstore_operator.spec import API_VERSION, KIND, WebStoreSpec

Object = dict[str, Any]

MANAGER = "webstore-operator"
MANAGED_BY, PART_OF, INSTANCE = (
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/instance",
)
NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
CREDENTIALS = "{}-credentials"

SERVICES = ("customer", "product", "order", "shopping-command", "shopping-query")
# A service comes after those that it calls, so that an upgraded one never meets an older version of what it needs.
# Stage 0 are the supporting systems. A service's migrations run in its pods' init containers, before that service.
STAGES = {"product": 1, "customer": 1, "order": 2, "shopping-command": 2, "shopping-query": 3}
LAST_STAGE = 3
# What shows what goes on comes last: no service waits for it.
_WATCHING = frozenset({"zipkin", "elasticsearch", "rsyslog", "logstash", "kibana"})

# About 20 KB each.
_MOST_PLANS = 1024

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RenderError(Exception):
    """Helm refuses the values, or the charts make something that the operator must not; the message says what."""


class Ref(NamedTuple):
    """An object of a store: kind and name; its namespace is the store's."""

    kind: str
    name: str


class Owner(NamedTuple):
    """The WebStore that the objects belong to."""

    namespace: str
    name: str
    uid: str

    @property
    def reference(self) -> Object:
        """The owner reference of its objects.

        blockOwnerDeletion would need the right to set finalizers of WebStores, and deleting a store needs nothing but
        garbage collection.
        """
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object that is wanted: when, and a digest that changes with it."""

    stage: int
    digest: bytes
    owner_of_pods: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is wanted. The objects themselves are kept packed: there are sixty a store, and they are needed
    only to apply them."""

    wanted: Mapping[Ref, Wanted]
    packed: bytes

    def objects(self, refs: Iterable[Ref]) -> dict[Ref, Object]:
        """The objects themselves."""
        chosen = set(refs)
        return {ref: body for body in json.loads(zlib.decompress(self.packed)) if (ref := _ref(body)) in chosen}


EMPTY = Plan({}, zlib.compress(b"[]"))


def values(spec: WebStoreSpec, name: str, credentials_revision: str) -> Object:
    """The values of charts/webstore for this store: the spec under `global`, and each service's part of it."""
    shared = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"services", "paused"})
    shared |= {"credentialsSecret": CREDENTIALS.format(name), "credentialsRevision": credentials_revision}
    services = spec.services.model_dump(mode="json", by_alias=True, exclude_none=True)
    for service in services.values():
        resources = service["resources"]
        if "memory" in resources.get("requests", {}) and "memory" not in resources.get("limits", {}):
            # The chart's own limit may be below it, which the API server refuses; null takes it out.
            resources["limits"] = {**resources.get("limits", {}), "memory": None}
    return {"global": shared, **services}


def revision(spec: WebStoreSpec, release: str) -> str:
    """A digest that changes when something else is to be rolled out."""
    return _digest([spec.model_dump(mode="json"), release]).hex()


class Renderer:
    """Renders stores with `helm template`, outside the event loop, and keeps what it rendered.

    Args:
        chart: folder of the chart of a whole store.
        helm: the helm program.
        at_once: most helm processes at the same time; each takes a CPU for about a tenth of a second.
    """

    def __init__(self, chart: Path, helm: str = "helm", *, at_once: int = 2) -> None:
        self._chart, self._helm = chart, helm
        self._slots = asyncio.Semaphore(at_once)
        self._plans: OrderedDict[bytes, Plan] = OrderedDict()

    async def plan(self, owner: Owner, values: Object) -> Plan:
        """What is wanted of this store.

        Raises:
            RenderError: Helm refuses the values.
            ChildProcessError: Helm did not get so far; try again later.
        """
        key = _digest([owner, values])
        if key not in self._plans:
            async with self._slots:
                if key not in self._plans:
                    self._plans[key] = await asyncio.to_thread(build, owner, await self._render(owner, values))
                    if len(self._plans) > _MOST_PLANS:
                        self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return self._plans[key]

    async def _render(self, owner: Owner, values: Object) -> bytes:
        RENDERS.inc()
        command = [
            self._helm,
            "template",
            owner.name,
            str(self._chart),
            "--namespace",
            owner.namespace,
            "--no-hooks",
            "--values",
            "-",
        ]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            out, errors = await asyncio.wait_for(
                process.communicate(json.dumps(values, ensure_ascii=False).encode()), timeout=60
            )
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        said = errors.decode(errors="replace").strip()
        if process.returncode == 1:
            raise RenderError(said.removeprefix("Error: "))
        if process.returncode:  # killed, as for want of memory: that says nothing about the values
            raise ChildProcessError(f"{self._helm} ended with {process.returncode}: {said[-1000:]}")
        return out


def build(owner: Owner, manifest: bytes) -> Plan:
    """What is wanted, from what `helm template` wrote.

    Raises:
        RenderError: the charts make an object of a kind that the operator may not touch, or in another namespace.
    """
    bodies = [_own(owner, body) for body in yaml.load_all(manifest, _Loader) if body]
    wanted = {
        _ref(body): Wanted(_stage(body), _digest(body), body["kind"] in ("Deployment", "StatefulSet"))
        for body in bodies
    }
    return Plan(wanted, zlib.compress(json.dumps(bodies).encode(), 1))


def _own(owner: Owner, body: Object) -> Object:
    metadata = body["metadata"]
    if body["kind"] not in KINDS or metadata.get("namespace", owner.namespace) != owner.namespace:
        raise RenderError(f"the charts make the {body['kind']} {metadata['name']}, which the operator may not touch")
    metadata["namespace"] = owner.namespace
    metadata.setdefault("labels", {}).update({MANAGED_BY: MANAGER, PART_OF: "webstore", INSTANCE: owner.name})
    metadata["ownerReferences"] = [owner.reference]
    return body


def _ref(body: Object) -> Ref:
    return Ref(body["kind"], body["metadata"]["name"])


def _stage(body: Object) -> int:
    labels = body["metadata"]["labels"]
    name = labels.get(NAME, "")
    if labels.get(COMPONENT) == "service":
        return STAGES.get(name, LAST_STAGE)
    return LAST_STAGE if name in _WATCHING else 0


def _digest(value: Any) -> bytes:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()[:8]
