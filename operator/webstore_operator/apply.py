"""Makes a store's objects as they are wanted: server-side apply under one field manager, and pruning."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, NamedTuple

from webstore_operator.cluster import METADATA_LIST, ApiError, Cluster
from webstore_operator.desired import MANAGED_BY, MANAGER, Object, Plan, Ref
from webstore_operator.health import Problem
from webstore_operator.kinds import KINDS, ObjectKind
from webstore_operator.metrics import APPLIED, PRUNED
from webstore_operator.owned import Entry, Owned, entry
from webstore_operator.spec import API_VERSION, KIND, PLURAL
from webstore_operator.store import Store

logger = logging.getLogger(__name__)

STORES = ObjectKind(API_VERSION, PLURAL, whole=True)
# Keeps the number of pods while it passes from the operator to an autoscaler.
HANDOVER = f"{MANAGER}-handover"
RIGHT_MISSING = "RightMissing"
# What the operator applies of these says so little that it could be no other's business: none would ever conflict.
_WITHOUT_CONFLICT = frozenset({"ConfigMap", "ServiceAccount"})


class Refused(Exception):
    """The API server will not take an object until somebody changes something."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class NotYet(Exception):
    """Something is to be waited for; the message says what."""


class Gone(Exception):
    """The WebStore, or its namespace, is not there any more, or another by its name is."""


class Known(NamedTuple):
    """What was applied: digest of what was wanted, uid and fingerprint of what it became, and in which round."""

    digest: bytes
    uid: str
    fingerprint: int
    round: int


class Applier:
    """Applies what differs from what is wanted, and nothing else.

    An object needs no request while the digest of what is wanted and the fingerprint of what is there are those of
    its last apply. One of a kind that is not watched is applied in each round, as nobody tells what became of it.
    """

    def __init__(self, cluster: Cluster, owned: Owned) -> None:
        self._cluster, self._owned = cluster, owned
        self._applied: dict[str, dict[Ref, Known]] = {}

    def forget(self, uid: str) -> None:
        """Drops what is known of a store that is gone."""
        self._applied.pop(uid, None)

    async def apply(self, store: Store, plan: Plan, refs: Iterable[Ref], *, proven: bool = False) -> list[Ref]:
        """Applies those of the plan's objects that differ; returns those that somebody else had changed or deleted.

        Args:
            proven: the plan was ready before, so its workloads are repaired even if another object is refused or waits
                for its removal.

        Raises:
            Refused, NotYet, Gone: they say why not.
            ApiError: the API server did not answer as it should.
        """
        due, waits = dict[Ref, str](), list[Exception]()
        for ref in refs:
            try:
                if why := self._why(store, plan, ref):
                    due[ref] = why
            except NotYet as wait:
                waits.append(wait)
        if waits and not proven:
            raise waits[0]
        if not due and not waits:
            return []
        await self.check_there(store)
        bodies = plan.objects(due)
        failures: list[Exception] = []
        # A workload comes after what it reads.
        for pods in (False, True):
            failures += await _all(
                self._apply(store, plan, ref, body, due[ref])
                for ref, body in bodies.items()
                if plan.wanted[ref].owner_of_pods is pods
            )
            if failures and not proven:
                break
        for failure in failures + waits:
            raise failure
        return [ref for ref, why in due.items() if why == "drift"]

    async def prune(self, store: Store, keep: Mapping[Ref, Any] | set[Ref], kinds: set[str] | None = None) -> None:
        """Deletes the store's objects (of these kinds, or of all) that are not to be kept; never a Secret."""
        doomed = {
            ref: entry
            for ref, entry in self._owned.of(store.key).items()
            if ref not in keep and ref.kind != "Secret" and entry.owner == store.owner.uid and not entry.terminating
            if kinds is None or ref.kind in kinds
        }
        if doomed:
            await self.check_there(store)
            for failure in await _all(self._delete(store, ref, entry) for ref, entry in doomed.items()):
                raise failure

    async def check_there(self, store: Store) -> None:
        """Asks the API server itself, before anything is written: the watch may not have told yet that the store is
        gone.

        Raises:
            Gone: it is, or it was changed in the meantime; the watch will tell.
        """
        body = await self._cluster.get(STORES, *store.key)
        metadata = (body or {}).get("metadata", {})
        if metadata.get("uid") != store.owner.uid or "deletionTimestamp" in metadata:
            raise Gone(f"the {KIND} {store.owner.name} is gone")

    def _why(self, store: Store, plan: Plan, ref: Ref) -> str | None:
        entry, known = self._owned.of(store.key).get(ref), self._applied.get(store.owner.uid, {}).get(ref)
        if known and known.round != self._owned.rounds[ref.kind]:
            return "unseen"
        if entry is not None:
            if entry.owner not in ("", store.owner.uid):
                raise NotYet(f"The {ref.kind} {ref.name} of a store of the same name is still being removed.")
            if entry.terminating:
                raise NotYet(f"The {ref.kind} {ref.name} is being deleted; it is made anew when it is gone.")
        if known is None:
            return "new" if entry is None else "check"
        if known.digest != plan.wanted[ref].digest:
            return "changed"
        if entry is None or (entry.uid, entry.fingerprint) != (known.uid, known.fingerprint):
            return "drift"
        return None

    async def _apply(self, store: Store, plan: Plan, ref: Ref, body: Object, why: str) -> None:
        kind, before = KINDS[ref.kind], self._owned.of(store.key).get(ref)
        applied, now = self._applied.setdefault(store.owner.uid, {}), self._owned.rounds[ref.kind]
        try:
            if ref.kind == "Deployment" and before and _leaves_replicas(before, body):
                await self._cluster.apply(kind, _handover(body, before), manager=HANDOVER, force=True)
            # Something that is not known to be the store's own is not taken over: that would be a conflict, and is
            # told.
            if before is None and ref.kind in _WITHOUT_CONFLICT - self._owned.unwatched:
                await self._check_free(store, ref)
            answer = await self._cluster.apply(kind, body, manager=MANAGER, force=before is not None)
        except ApiError as error:
            if why == "unseen" and error.status == 403 and applied[ref].digest == plan.wanted[ref].digest:
                applied[ref] = applied[ref]._replace(round=now)  # nobody says that it is not as it should be
                return
            raise meaning(error, store, ref) from error
        APPLIED.labels(ref.kind, why).inc()
        if why not in ("check", "unseen"):
            logger.info("Applied %s %s/%s (%s)", ref.kind, store.owner.namespace, ref.name, why)
        # The digest is noted with the fingerprint of this very answer: a change that came after it differs from it,
        # also where the watch was quicker than the answer.
        self._owned.put(store.key, ref, answer)
        made = entry(ref.kind, answer)
        applied[ref] = Known(plan.wanted[ref].digest, made.uid, made.fingerprint, now)

    async def _check_free(self, store: Store, ref: Ref) -> None:
        query = {"fieldSelector": f"metadata.name={ref.name}"}
        path = KINDS[ref.kind].path(store.owner.namespace)
        found = await self._cluster.request("GET", path, query=query, accept=METADATA_LIST)
        for item in found["items"] or []:
            if item["metadata"].get("labels", {}).get(MANAGED_BY) != MANAGER:
                raise Refused(_taken(ref, ""))

    async def _delete(self, store: Store, ref: Ref, entry: Entry) -> None:
        await self._cluster.delete(KINDS[ref.kind], store.owner.namespace, ref.name, entry.uid)
        PRUNED.labels(ref.kind).inc()
        logger.info("Deleted %s %s/%s, which is no longer wanted", ref.kind, store.owner.namespace, ref.name)
        self._applied.get(store.owner.uid, {}).pop(ref, None)
        if ref.kind in self._owned.unwatched:
            self._owned.drop(store.key, ref, entry.version)


def _leaves_replicas(before: Entry, body: Object) -> bool:
    return before.workload is not None and before.workload.owns_replicas and "replicas" not in body["spec"]


def _handover(body: Object, before: Entry) -> Object:
    """A field that its only owner no longer applies falls back to its default, here to one pod: another owner keeps
    it as it is.

    https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership
    """
    metadata = {name: body["metadata"][name] for name in ("name", "namespace")}
    replicas = before.workload.wanted if before.workload else 1
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": metadata,
        "spec": {"replicas": replicas},
    }


def meaning(error: ApiError, store: Store, ref: Ref) -> Exception:
    """What it means that the API server did not take an object: Gone, Refused, or that it may take it later."""
    if "NamespaceTerminating" in error.causes:
        return Gone(f"the namespace {store.owner.namespace} is being removed")
    if "FieldManagerConflict" in error.causes:
        return Refused(_taken(ref, str(error)))
    if error.status == 404 and KINDS[ref.kind].optional:
        kind = KINDS[ref.kind]
        message = f"The cluster has no {ref.kind} ({kind.api_version}): {kind.optional}."
        return Refused(Problem(f"No{ref.kind}", message))
    if error.status == 404:
        return Gone(f"the namespace {store.owner.namespace} is gone")
    if error.status in (400, 403, 422):
        reason, message = "Refused", f"The API server refuses the {ref.kind} {ref.name}: {error}"
        if re.search(r'User ".*" cannot \w+ resource', str(error)):
            reason = RIGHT_MISSING
            message = f"The operator lacks a right: upgrade the chart webstore-operator, which gives it. {message}"
        return Refused(Problem(reason, message))
    return error


def _taken(ref: Ref, said: str) -> Problem:
    message = (
        f"The {ref.kind} {ref.name} is there already and does not belong to this WebStore: delete it (if it is "
        f"of a Helm release, uninstall that), or give the WebStore another name. {said}"
    )
    return Problem("NameTaken", message.strip())


async def _all(tasks: Iterable[Awaitable[None]]) -> list[Exception]:
    """Waits for all of them, whatever becomes of some, and returns the failures."""
    return [failure for failure in await asyncio.gather(*map(_outcome, tasks)) if failure]


async def _outcome(task: Awaitable[None]) -> Exception | None:
    """A failure as a result: when Kopf stops, it raises again what any task of the process has raised."""
    try:
        await task
    except Exception as failure:
        return failure
    return None
