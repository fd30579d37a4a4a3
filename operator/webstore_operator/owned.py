"""What the operator owns, followed by watches, so that a look at a store that is as it should be asks the API server
nothing.

The watches are the operator's own and not Kopf's: they select by label on the server and ask for metadata only
(https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches), so that neither the contents of
Secrets nor 18,000 whole objects (of 300 stores) ever come here.
"""

import asyncio
import json
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from webstore_operator.cluster import METADATA_LIST, METADATA_ONLY, ApiError, Cluster
from webstore_operator.desired import INSTANCE, MANAGED_BY, MANAGER, Ref
from webstore_operator.health import Workload, refusal, workload
from webstore_operator.kinds import KINDS
from webstore_operator.metrics import OBJECTS, UNWATCHED, WATCH_RESTARTS
from webstore_operator.spec import KIND

logger = logging.getLogger(__name__)

Key = tuple[str, str]  # namespace and name of a store

SELECTOR = f"{MANAGED_BY}={MANAGER}"
PAGE = 500
# The server is asked to end each watch after five minutes, and a connection without a line (bookmarks come each
# minute) counts as lost: a watch that went silent without an error would otherwise never be noticed.
WATCH_SECONDS, QUIET_SECONDS = 300, 90.0
# What the server refuses or does not have is asked for again at this interval: somebody may give the right, or install
# the kind.
REFUSED_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of an object.

    Attributes:
        fingerprint: changes when a field that the operator applied is changed or taken over by somebody else. It is
            the hash of the operator's own entry in the object's managedFields: what others own, as an autoscaler's
            replicas, leaves it as it is. Of what was not applied but created, as the credentials, it is the version:
            any change may be one to repair.
        version: the object's resourceVersion, which grows (KEP-5504).
        workload: of a Deployment or StatefulSet.
        address: of an Ingress, where its controller answers.
        refusal: of an HTTPRoute, what its Gateway has against it; empty: nothing; None: it has not answered.
    """

    uid: str
    owner: str
    fingerprint: int
    version: int
    terminating: bool
    workload: Workload | None = None
    address: str = ""
    refusal: str | None = ""


def entry(kind: str, body: Mapping[str, Any]) -> Entry:
    """What is kept of an object, or of its metadata."""
    metadata = body["metadata"]
    fields: dict[str, Any] = next(
        (
            managed.get("fieldsV1", {})
            for managed in metadata.get("managedFields", [])
            if managed.get("manager") == MANAGER
            and managed.get("operation") == "Apply"
            and not managed.get("subresource")
        ),
        {},
    )
    version = int(metadata["resourceVersion"])
    workloads = kind in ("Deployment", "StatefulSet")
    addresses = body.get("status", {}).get("loadBalancer", {}).get("ingress", []) if kind == "Ingress" else []
    return Entry(
        uid=metadata["uid"],
        owner=next((o["uid"] for o in metadata.get("ownerReferences", []) if o.get("controller")), ""),
        fingerprint=hash(json.dumps(fields)) if fields else version,
        version=version,
        terminating="deletionTimestamp" in metadata,
        workload=workload(body, owns_replicas="f:replicas" in fields.get("f:spec", {})) if workloads else None,
        address=(addresses[0].get("hostname") or addresses[0].get("ip") or "") if addresses else "",
        refusal=refusal(body) if kind == "HTTPRoute" else "",
    )


class Owned:
    """All objects of all stores.

    A kind that the operator may not list or watch holds up no other: its objects are known as the answers to their
    applies had them, and are to be applied again in each round, which is each time that it was refused.

    Args:
        wake: told the store whose object changed.

    Attributes:
        unwatched: kinds that the operator may not list or watch.
        rounds: how often each kind was refused.
    """

    def __init__(self, cluster: Cluster, wake: Callable[[Key], None]) -> None:
        self._cluster, self._wake = cluster, wake
        self._stores: dict[Key, dict[Ref, Entry]] = defaultdict(dict)
        self._pending = set(KINDS)
        self._synced = asyncio.Event()
        self.unwatched: set[str] = set()
        self.rounds: Counter[str] = Counter()

    def of(self, key: Key) -> Mapping[Ref, Entry]:
        """The objects of a store."""
        return MappingProxyType(self._stores.get(key, {}))

    async def synced(self) -> None:
        """Waits until every kind was listed once, or refused."""
        await self._synced.wait()

    def put(self, key: Key, ref: Ref, body: Mapping[str, Any]) -> Entry:
        """Notes what an answer or an event says; an older one than the last changes nothing."""
        new, old = entry(ref.kind, body), self._stores[key].get(ref)
        if old and old.version > new.version:
            return old
        self._stores[key][ref] = new
        if old is None or replace(old, version=new.version) != new:
            self._wake(key)
        return new

    def drop(self, key: Key, ref: Ref, version: int) -> None:
        """Notes that an object is gone since that version."""
        store = self._stores.get(key, {})
        if ref in store and store[ref].version <= version:
            del store[ref]
            if not store:
                del self._stores[key]
            self._wake(key)

    def forget(self, key: Key) -> None:
        """Drops what no watch will tell the end of: the objects of a store that is gone."""
        for ref, known in list(self.of(key).items()):
            if ref.kind in self.unwatched:
                self.drop(key, ref, known.version)

    async def follow(self) -> None:
        """Follows all kinds until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind in KINDS:
                group.create_task(self._follow(kind), name=f"watch of {kind}")

    async def _follow(self, kind: str) -> None:
        failures = 0
        while True:
            try:
                version = await self._list(kind)
                self._done(kind)
                while True:
                    version = await self._watch(kind, version)
                    failures = 0
            except ApiError as error:
                if error.status == 403 or (error.status == 404 and KINDS[kind].optional):
                    self._done(kind)
                    if error.status == 403:
                        self._refused(kind, error)
                    await asyncio.sleep(REFUSED_SECONDS)
                    continue
                # Also where a version is too old to watch from (410): a list may bring such a one again.
                WATCH_RESTARTS.labels(kind).inc()
                failures = min(failures + 1, 7)
                logger.warning("The watch of %s begins again: %s", kind, error)
                await asyncio.sleep(min(30, 0.25 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311

    def _done(self, kind: str) -> None:
        self._pending.discard(kind)
        if not self._pending:
            self._synced.set()

    def _refused(self, kind: str, error: ApiError) -> None:
        self.rounds[kind] += 1
        if kind not in self.unwatched:
            self.unwatched.add(kind)
            UNWATCHED.labels(kind).set(1)
            logger.warning(
                "%s is not watched, as the operator lacks a right: upgrade the chart webstore-operator, which gives "
                "it. Until then what others do to objects of this kind is put back every %d s and not at once. %s",
                kind,
                REFUSED_SECONDS,
                error,
            )
        for key, objects in list(self._stores.items()):
            if any(ref.kind == kind for ref in objects):
                self._wake(key)

    def _opened(self, kind: str) -> None:
        if kind in self.unwatched:
            self.unwatched.remove(kind)
            UNWATCHED.labels(kind).set(0)
            logger.info("%s is watched now", kind)

    async def _list(self, kind: str) -> str:
        """Lists a kind, and drops what is not there any more; returns the version to watch from."""
        where = KINDS[kind]
        query = {"labelSelector": SELECTOR, "limit": str(PAGE)}
        seen: set[tuple[Key, Ref]] = set()
        while True:
            accept = "application/json" if where.whole else METADATA_LIST
            page = await self._cluster.request("GET", where.path(), query=query, accept=accept)
            for body in page["items"] or []:
                if key := _store(body):
                    ref = Ref(kind, body["metadata"]["name"])
                    seen.add((key, ref))
                    self.put(key, ref, body)
            if not page["metadata"].get("continue"):
                break
            query["continue"] = page["metadata"]["continue"]
        version: str = page["metadata"]["resourceVersion"]
        gone = [(k, r) for k, objects in self._stores.items() for r in objects if r.kind == kind and (k, r) not in seen]
        for key, ref in gone:
            self.drop(key, ref, int(version))
        self._count()
        return version

    async def _watch(self, kind: str, version: str) -> str:
        where = KINDS[kind]
        query = {"labelSelector": SELECTOR, "resourceVersion": version}
        accept = "application/json" if where.whole else METADATA_ONLY
        events = self._cluster.watch(
            where.path(),
            query,
            accept=accept,
            seconds=WATCH_SECONDS,
            quiet=QUIET_SECONDS,
            opened=lambda: self._opened(kind),
        )
        try:
            async for event in events:
                body = event["object"]
                version = body["metadata"]["resourceVersion"]
                key = _store(body)
                if event["type"] == "BOOKMARK" or key is None:
                    continue
                ref = Ref(kind, body["metadata"]["name"])
                if event["type"] == "DELETED":
                    self.drop(key, ref, int(version))
                else:
                    self.put(key, ref, body)
                self._count()
        except ApiError as error:
            # A broken connection goes on from where it was; all else needs a new list.
            if error.status not in (0, 429) and error.status < 500:
                raise
            logger.info("The watch of %s is taken up again: %s", kind, error)
            await asyncio.sleep(random.uniform(0.2, 1))  # noqa: S311
        return version

    def _count(self) -> None:
        OBJECTS.set(sum(map(len, self._stores.values())))


def _store(body: Mapping[str, Any]) -> Key | None:
    """Whose it is, by its owner; by its label only where it has none, as the label may be what somebody changed."""
    metadata = body["metadata"]
    owners = metadata.get("ownerReferences", [])
    label = (metadata.get("labels") or {}).get(INSTANCE)
    name = next((o["name"] for o in owners if o.get("controller") and o["kind"] == KIND), label)
    return (metadata["namespace"], name) if name else None
