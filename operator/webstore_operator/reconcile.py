"""One look at a store: what is wanted, what is there, what to do about it, and what to say. Level-triggered: events
only wake it.

A change is rolled out in stages. The objects of the stages that were reached are as the spec wants them, those of the
later ones as they were with the last spec that was ready; a stage is reached when all before it are ready. Nothing
else is remembered, so that it makes no difference whether a look follows an event, a crash or another copy's look.
Where nothing is being rolled out both are the same.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from webstore_operator import credentials, health, status
from webstore_operator.apply import RIGHT_MISSING, STORES, Applier, Gone, NotYet, Refused, meaning
from webstore_operator.cluster import ApiError, Cluster
from webstore_operator.desired import (
    CREDENTIALS,
    EMPTY,
    INSTANCE,
    LAST_STAGE,
    MANAGED_BY,
    MANAGER,
    PART_OF,
    SERVICES,
    Plan,
    Ref,
    Renderer,
    RenderError,
    revision,
    values,
)
from webstore_operator.health import Problem, Workload
from webstore_operator.kinds import ObjectKind
from webstore_operator.metrics import ROLLBACKS
from webstore_operator.owned import Entry, Key, Owned
from webstore_operator.settings import RELEASE, Settings
from webstore_operator.spec import API_VERSION, KIND, WebStoreSpec
from webstore_operator.status import Finding, LastReady, RolledBack, Rollout, Status
from webstore_operator.store import Store

logger = logging.getLogger(__name__)

Announce = Callable[[Store, str, str, str], None]

# While something is waited for, pods are looked at this often: their own changes are not watched.
LOOK_SECONDS = 5.0
PODS = ObjectKind("v1", "pods")
NOT_ROUTED = "NotRouted"


@dataclass(frozen=True, slots=True)
class Aim:
    """What the store is to become, or once was.

    Attributes:
        release: release of the operator whose charts made it.
    """

    revision: str
    release: str
    version: str
    spec: WebStoreSpec
    plan: Plan


class Reconciler:
    """Looks at stores.

    Args:
        announce: makes an Event on the store: type, reason, message.
    """

    def __init__(self, cluster: Cluster, owned: Owned, settings: Settings, announce: Announce) -> None:
        self.stores: dict[Key, Store] = {}
        self._cluster, self._owned, self._announce = cluster, owned, announce
        self._applier = Applier(cluster, owned)
        self._renderer = Renderer(settings.chart, settings.helm, at_once=settings.renders)
        self._ready_seconds = settings.ready_seconds
        self._credentials: dict[str, tuple[tuple[int, int], str]] = {}

    def note(self, store: Store) -> None:
        """Remembers the newest that is known of a store."""
        known = self.stores.get(store.key)
        if known is None or known.version <= store.version:
            self.stores[store.key] = store

    def forget(self, key: Key) -> None:
        """Drops what is known of a store that is gone; its objects are the garbage collector's."""
        store = self.stores.pop(key, None)
        if store:
            self._applier.forget(store.owner.uid)
            self._credentials.pop(store.owner.uid, None)
            self._owned.forget(key)

    async def look(self, key: Key) -> float | None:
        """Looks at a store, and does what is to be done.

        Returns:
            Seconds until the next look even if nothing happens; None: only when something does.

        Raises:
            ApiError: try again later.
        """
        store = self.stores.get(key)
        if store is None or store.deleting:
            return None
        try:
            return await self._look(store)
        except Gone as gone:
            logger.info("Left %s/%s alone: %s", *key, gone)
            return None
        except NotYet as wait:
            await self._report(store, Finding(ready=False, progress=("WaitingForRemoval", str(wait))))
            return LOOK_SECONDS
        except Refused as refused:
            await self._report(store, Finding(ready=False, problems=[refused.problem]))
            return LOOK_SECONDS
        except RenderError as error:
            await self._report(
                store, Finding(ready=False, problems=[Problem("Refused", f"The charts refuse the spec: {error}")])
            )
            return None
        except ApiError as error:
            await self._report_failure(store, error)
            raise

    async def _look(self, store: Store) -> float | None:
        if store.spec.paused:
            message = "spec.paused is true: nothing is changed, repaired or rolled back until it is false."
            await self._report(store, Finding(ready=not list(self._unready(store)), settled=("Paused", message)))
            return None
        aim, before = await self._aims(store)
        rollout = _under_way(store)
        settled = before is not None and before.revision == aim.revision
        if not settled and rollout is None and await self._lacks_secrets(store, aim, before):
            return LOOK_SECONDS

        reached, refused = LAST_STAGE if settled else rollout.stage if rollout else 0, list[Problem]()
        while True:
            try:
                await self._apply(store, aim, before, reached)
            except Refused as refusal:
                if refusal.problem.reason == RIGHT_MISSING:
                    raise  # no fault of the change: its time does not run, and it is not given up
                refused = [refusal.problem]
            waiting = list(self._unready(store, aim.plan, reached, first=before is None))
            if waiting or refused or reached >= LAST_STAGE:
                break
            reached += 1
        if not waiting and not refused:
            return await self._ready(store, aim)
        now = self._rollout(store, aim, reached)
        return await self._wait(store, aim, before, now, waiting=waiting, refused=refused)

    async def _lacks_secrets(self, store: Store, aim: Aim, before: Aim | None) -> bool:
        """Whether a change cannot begin for want of Secrets that the spec names: the store stays as it was, and says
        so."""
        lacking = await credentials.missing(self._cluster, store.owner.namespace, aim.spec)
        if lacking:
            await self._apply(store, aim, before, reached=-1)
            await self._report(
                store, Finding(ready=False, progress=("WaitingForSecret", lacking[0].message), problems=lacking)
            )
        return bool(lacking)

    def _rollout(self, store: Store, aim: Aim, reached: int) -> Rollout:
        """The roll-out at this stage: since when it goes on without one more ready pod."""
        entries = self._owned.of(store.key)
        there = [entries[ref].workload for ref in aim.plan.wanted if ref in entries]
        ready = sum(workload.ready_now for workload in there if workload and workload.seen)
        now = Rollout(revision=aim.revision, stage=reached, since=_text(_now()), ready=ready)
        known = _under_way(store)
        if known and known.stage == reached and known.ready >= ready and not _halted(store):
            # A time that is yet to come is of a clock that was ahead.
            return min(known, now, key=_since)
        return now

    async def _aims(self, store: Store) -> tuple[Aim, Aim | None]:
        """What the store is to become, and what it was when all was ready last.

        Raises:
            RenderError: the charts refuse what it is to become; what it was is kept up.
        """
        secret = await self._secret_digest(store)
        before, wanted = await self._before(store, secret), _revision(store)
        if before and wanted in (before.revision, _given_up(store)):
            return before, before
        try:
            return await self._aim(store, wanted, RELEASE, _resolved(store.spec), secret), before
        except RenderError:
            if before:
                await self._apply(store, before, before, LAST_STAGE)
            raise

    async def _before(self, store: Store, secret: str) -> Aim | None:
        last = store.status.last_ready
        try:
            return await self._aim(store, last.revision, last.release, last.spec, secret) if last else None
        except RenderError as error:
            logger.warning("%s/%s cannot be rolled back: the charts refuse its last spec: %s", *store.key, error)
            return None

    async def _aim(self, store: Store, its_revision: str, release: str, spec: WebStoreSpec, secret: str) -> Aim:
        plan = await self._renderer.plan(store.owner, values(spec, store.owner.name, secret))
        return Aim(its_revision, release, spec.version, spec, plan)

    async def _secret_digest(self, store: Store) -> str:
        """Digest of the credentials, which are made if they are not there."""
        name, uid = CREDENTIALS.format(store.owner.name), store.owner.uid
        entry = self._owned.of(store.key).get(Ref("Secret", name))
        if entry and entry.owner not in ("", uid):
            raise NotYet(f"The Secret {name} of a store of the same name is still being removed.")
        now = self._owned.rounds["Secret"]
        known = self._credentials.get(uid)
        if entry is None or known is None or known[0] != (entry.version, now):
            await self._applier.check_there(store)
            try:
                metadata, digest = await credentials.ensure(self._cluster, store.owner)
            except ApiError as error:
                raise meaning(error, store, Ref("Secret", name)) from error
            self._credentials[uid] = known = (int(metadata["resourceVersion"]), now), digest
            if metadata.get("labels", {}).get(MANAGED_BY) == MANAGER:
                self._owned.put(store.key, Ref("Secret", name), {"metadata": metadata})
        return known[1]

    async def _apply(self, store: Store, aim: Aim, before: Aim | None, reached: int) -> None:
        """Makes the stages up to the reached one as they are to be, and the others as they were."""
        now = [ref for ref, wanted in aim.plan.wanted.items() if _stage(wanted.stage, first=before is None) <= reached]
        # Another release has other charts: what they make of the old spec is not what was there, which is left as it
        # is until its turn.
        old = before.plan if before and before.release == RELEASE else EMPTY
        later = [ref for ref, wanted in old.wanted.items() if wanted.stage > reached]
        if old.wanted or reached >= LAST_STAGE:
            # An autoscaler that is no longer wanted would set the number of pods against the operator.
            await self._applier.prune(store, {*now, *later}, {"HorizontalPodAutoscaler"})
        proven = before is not None and (before.revision, before.release) == (aim.revision, RELEASE)
        # What waits for its turn comes first, so that it is kept up even if the change is refused.
        repaired = await self._applier.apply(store, old, later, proven=True)
        repaired += await self._applier.apply(store, aim.plan, now, proven=proven)
        if repaired:
            names = ", ".join(f"{ref.kind} {ref.name}" for ref in sorted(repaired)[:5]) + (
                " and others" if len(repaired) > 5 else ""
            )
            self._announce(store, "Normal", "Repaired", f"{names}: changed or deleted by somebody, and put back.")

    def _unready(
        self, store: Store, plan: Plan | None = None, reached: int = LAST_STAGE, *, first: bool = False
    ) -> Iterator[tuple[str, Workload | None]]:
        """Workloads of these stages that are not ready, by their part's name; without a plan, of all that are there."""
        owned = self._owned.of(store.key)
        if plan is None:
            yield from (
                (_part(store, ref), e.workload) for ref, e in owned.items() if e.workload and not e.workload.ready
            )
            return
        for ref, wanted in plan.wanted.items():
            if wanted.owner_of_pods and _stage(wanted.stage, first=first) <= reached:
                entry = owned.get(ref)
                workload = entry.workload if entry else None
                if workload is None or not workload.ready:
                    yield _part(store, ref), workload

    async def _ready(self, store: Store, aim: Aim) -> float | None:
        await self._applier.prune(store, aim.plan.wanted)
        last = LastReady(
            revision=aim.revision,
            release=RELEASE,
            version=aim.version,
            spec=aim.spec,
        )
        if store.status.rolled_back and _given_up(store) == _revision(store):
            problem = Problem("RolledBack", store.status.rolled_back.message)
            settled = ("RolledBack", problem.message)
            await self._report(store, Finding(ready=False, settled=settled, problems=[problem]), last=last)
        else:
            url = _url(aim.spec, [e.address for e in self._owned.of(store.key).values() if e.address])
            message = f"All of version {aim.version} is ready" + (f", at {url}." if url else ".")
            if any(route.refusal is None for route in self._routes(store).values()):
                gateway = aim.spec.gateway.parent.name
                message += f" But no Gateway {gateway} has answered for its HTTPRoutes: is it there?"
            await self._report(store, Finding(ready=True, settled=("Ready", message)), last=last, url=url)
        return None

    def _routes(self, store: Store) -> dict[str, Entry]:
        """The HTTPRoutes, by name; those on their way out are nobody's concern."""
        owned = sorted(self._owned.of(store.key).items())
        return {ref.name: entry for ref, entry in owned if ref.kind == "HTTPRoute" and not entry.terminating}

    def _unrouted(self, store: Store) -> list[Problem]:
        """What the Gateway has against HTTPRoutes: nobody reaches the pods by them, however ready these are."""
        names = defaultdict(list)
        for name, route in self._routes(store).items():
            if route.refusal:
                names[route.refusal].append(name)
        said = " ".join(f"{', '.join(routes)}: {refusal}" for refusal, routes in names.items())
        advice = "The Gateway does not take HTTPRoutes; correct spec.gateway.parent, spec.ingress.host, or the Gateway."
        return [Problem(NOT_ROUTED, f"{advice} {said}")] if said else []

    async def _wait(
        self,
        store: Store,
        aim: Aim,
        before: Aim | None,
        rollout: Rollout,
        *,
        waiting: list[tuple[str, Workload | None]],
        refused: list[Problem],
    ) -> float | None:
        """Says what is waited for and why; gives a change up that is not ready in time.

        Args:
            waiting: parts that are not ready.
            refused: what the API server does not take.
        """
        pods = await self._pods(store)
        found = [*refused, *health.problems(pods)]
        await self._unblock(store, pods)
        # What is refused comes before the pods: those of the older version may all be ready.
        names = ", ".join(
            f"{part} ({w.ready_now if w else 0} of {w.wanted if w else '?'} pods ready)" for part, w in waiting
        ) or "an object that is refused"
        if before is not None and before.revision == aim.revision:
            reason = "Recovering"
            if store.status.rolled_back and _given_up(store) == _revision(store):
                reason, found = "RollingBack", [Problem("RolledBack", store.status.rolled_back.message), *found]
            await self._report(store, Finding(ready=False, progress=(reason, f"Waiting for {names}."), problems=found))
            return LOOK_SECONDS
        left = self._ready_seconds - (_now() - _since(rollout)).total_seconds()
        if left <= 0 and before is not None:
            return await self._roll_back(store, aim, before, found, names)
        if left <= 0 and not found:
            found = [
                Problem(
                    "NotReadyInTime",
                    f"Not ready after {self._ready_seconds:g} s: {names}. `kubectl describe pod` tells more.",
                )
            ]
        reason = "Installing" if before is None and store.status.last_ready is None else "Updating"
        message = f"Version {aim.version}: waiting for {names}."
        await self._report(
            store, Finding(ready=False, progress=(reason, message), problems=found), rollout=rollout
        )
        return min(LOOK_SECONDS, left) if left > 0 else LOOK_SECONDS

    async def _roll_back(self, store: Store, aim: Aim, before: Aim, found: list[Problem], names: str) -> float:
        why = " ".join(dict.fromkeys(p.message for p in found)) or f"Waited for {names}."
        message = (
            f"Version {aim.version} of generation {store.generation} was not ready in {self._ready_seconds:g} s "
            f"since the last pod was, so the store has the last "
            f"spec again that was (version {before.version}). {why} Change the spec to try again."
        )
        ROLLBACKS.inc()
        given_up = RolledBack(revision=aim.revision, message=message)
        finding = Finding(ready=False, progress=("RollingBack", message), problems=[Problem("RolledBack", message)])
        await self._report(store, finding, rolled_back=given_up)
        return 0.0

    async def _unblock(self, store: Store, pods: list[health.Object]) -> None:
        """Deletes StatefulSets' pods of an older template that are broken: their controller would wait for them for
        ever.

        https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
        """
        owned = self._owned.of(store.key)
        for pod in pods:
            entry = owned.get(Ref("StatefulSet", f"{store.owner.name}-{health.part(pod)}"))
            revision = pod["metadata"]["labels"].get("controller-revision-hash")
            outdated = (
                entry
                and entry.workload
                and entry.workload.seen
                and entry.workload.update_revision not in ("", revision)
            )
            if outdated and revision and health.problems([pod]):
                name = pod["metadata"]["name"]
                logger.info("Deleted Pod %s/%s, which is broken and of an older template", store.owner.namespace, name)
                await self._cluster.delete(PODS, store.owner.namespace, name, pod["metadata"]["uid"])

    async def _report_failure(self, store: Store, error: ApiError) -> None:
        """Says why nothing goes on. A store that is as it should be keeps it to the log: its pods serve."""
        ready = store.status.condition(status.READY)
        if ready and ready.status == "True" and ready.observed_generation == store.generation:
            return
        message = f"The API server failed, and is asked again and again: {error}"
        with suppress(ApiError):
            await self._report(store, Finding(ready=False, progress=("Retrying", message)))

    async def _pods(self, store: Store) -> list[health.Object]:
        selector = f"{PART_OF}=webstore,{INSTANCE}={store.owner.name}"
        found = await self._cluster.request("GET", PODS.path(store.owner.namespace), query={"labelSelector": selector})
        items: list[health.Object] = found["items"]
        return items

    async def _report(
        self,
        store: Store,
        finding: Finding,
        *,
        rollout: Rollout | None = None,
        last: LastReady | None = None,
        rolled_back: RolledBack | None = None,
        url: str | None = None,
    ) -> None:
        """Writes the status if it says something new, and tells the turns as Events."""
        old = store.status
        still = old.rolled_back if _given_up(store) == _revision(store) else None
        owned = self._owned.of(store.key)
        services = {
            name: entry.workload if (entry := owned.get(Ref("Deployment", f"{store.owner.name}-{name}"))) else None
            for name in SERVICES
        }
        last_ready = last or old.last_ready
        now, told = _text(_now()), old.condition(status.DEGRADED)
        # While something is under way, only what was told before: a Gateway may see a route before its Service.
        settled = finding.progress is None or (told is not None and told.reason == NOT_ROUTED)
        besides = self._unrouted(store) if settled else []
        new = Status(
            observed_generation=store.generation,
            conditions=status.conditions(finding, besides, old.conditions, store.generation, now),
            version=last_ready.version if last_ready else "",
            url=old.url if url is None else url,
            **status.pages(last_ready.spec, store.owner.name) if last_ready else {},
            services=status.services(services),
            last_ready=last_ready,
            rollout=rollout or (None if last else _under_way(store)),
            rolled_back=rolled_back or still,
        )
        if new == old:
            return
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"namespace": store.owner.namespace, "name": store.owner.name, "uid": store.owner.uid},
            "status": new.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        try:
            answer = await self._cluster.apply(STORES, body, manager=MANAGER, force=True, subresource="/status")
        except ApiError as error:
            if error.status == 404:
                raise Gone("it was deleted") from error
            raise
        self.note(Store.read(answer))
        for event in status.events(old, new):
            self._announce(store, *event)


def _resolved(spec: WebStoreSpec) -> WebStoreSpec:
    """The spec with the version that an empty one means."""
    return spec.model_copy(update={"version": spec.version or RELEASE, "paused": False})


def _revision(store: Store) -> str:
    return revision(_resolved(store.spec), RELEASE)


def _given_up(store: Store) -> str | None:
    return store.status.rolled_back.revision if store.status.rolled_back else None


def _under_way(store: Store) -> Rollout | None:
    """The roll-out of the spec as it is now: one of another spec is over, and begins anew if that spec comes back."""
    rollout = store.status.rollout
    return rollout if rollout and rollout.revision == _revision(store) else None


def _halted(store: Store) -> bool:
    """Whether the last look could do nothing for the change: that time is not the change's."""
    progressing = store.status.condition(status.PROGRESSING)
    return progressing is not None and (
        progressing.status == "False" or progressing.reason in ("Retrying", "WaitingForRemoval")
    )


def _stage(stage: int, *, first: bool) -> int:
    """At the first roll-out there is no older version that a service could meet: all services may start at once."""
    return min(stage, 1) if first else stage


def _part(store: Store, ref: Ref) -> str:
    return ref.name.removeprefix(f"{store.owner.name}-")


def _url(spec: WebStoreSpec, addresses: list[str]) -> str:
    if not spec.ingress.enabled:
        return ""
    host = spec.ingress.host or (addresses[0] if addresses else "")
    return f"{'https' if spec.ingress.tls_secret else 'http'}://{host}" if host else ""


def _now() -> datetime:
    return datetime.now(UTC)


def _since(rollout: Rollout) -> datetime:
    return datetime.fromisoformat(rollout.since)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
