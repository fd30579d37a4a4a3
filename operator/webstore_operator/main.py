"""The operator's process: `webstore-operator`."""

import asyncio
import contextvars
import logging
import signal
import sys
from contextlib import suppress
from typing import Any

import kopf
from pydantic import ValidationError
from pythonjsonlogger.json import JsonFormatter

from webstore_operator import election, http
from webstore_operator.cluster import ApiError, Cluster
from webstore_operator.metrics import STORES
from webstore_operator.owned import Key, Owned
from webstore_operator.queue import Queue
from webstore_operator.reconcile import Reconciler
from webstore_operator.settings import Settings
from webstore_operator.spec import API_VERSION, KIND, PLURAL
from webstore_operator.store import Store

logger = logging.getLogger(__name__)


def configure(settings: kopf.OperatorSettings) -> None:
    """Kopf's settings, each chosen on purpose.

    Kopf brings the WebStores and their Events; all state is in the WebStores' status and the objects themselves. With
    nothing but an event handler Kopf keeps no progress and no last-seen state, so it writes neither annotations nor
    finalizers: a WebStore never waits for an operator that is not there any more.
    """
    # A watch that is cut off without an error goes silent for ever: the server is asked to end it, and the client
    # ends it if the server does not. Bookmarks come each minute, so 70 s (Kopf's default inactivity_timeout) without
    # a line is a lost connection.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1
    # WebStores are small, but a page of them keeps a start with thousands flat.
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    # An API server that is away for a quarter of an hour is waited for; after that the process ends, and the kubelet
    # starts it anew.
    settings.networking.error_backoffs = [1, 1, 2, 3, 5, 8, 13, 21, *[30] * 30]
    # The handler only notes and wakes, so workers never wait; how many stores are worked on at a time is the queue's
    # to say.
    settings.queueing.worker_limit = 20
    settings.queueing.idle_timeout = 1
    # There is one version of one resource, known before the start: watching all CRDs and namespaces would need rights
    # for nothing.
    settings.scanning.disabled = True
    # Copies agree by a Lease (see election.py). Kopf's peering needs a CRD of its own, and lets two of the same
    # priority stop each other.
    settings.peering.standalone = True
    # Events are what the reconciler says on purpose, not log lines.
    settings.posting.loggers = False
    settings.posting.reporting_component = "webstore-operator"
    settings.posting.event_name_prefix = "webstore-"
    # Nothing is in the middle of something that must end: another copy goes on from what is there.
    settings.process.ultimate_exiting_timeout = 20


class Operator:
    """Everything that works while this copy has the Lease."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._owned = Owned(cluster, self._wake)
        self._reconciler = Reconciler(cluster, self._owned, settings, self._announce)
        self._queue: Queue[Key] = Queue(self._reconciler.look, workers=settings.workers)
        self._ready = asyncio.Event()
        self._early: set[Key] = set()
        self._context = contextvars.copy_context()
        self._cluster = cluster

    async def run(self) -> None:
        """Works until it is cancelled, or the process is told to stop: once Kopf runs, it listens to the signals.

        Raises:
            Exception: it cannot go on; the process ends, and another takes over.
        """
        await _await_definition(self._cluster)
        registry = kopf.OperatorRegistry()
        kopf.on.startup(registry=registry)(self._startup)
        kopf.on.login(registry=registry)(_login)
        kopf.on.event(API_VERSION, PLURAL, registry=registry)(self._event)
        stop = asyncio.Event()
        operator = asyncio.create_task(
            kopf.operator(registry=registry, clusterwide=True, standalone=True, stop_flag=stop)
        )
        others = [
            asyncio.create_task(self._owned.follow()),
            asyncio.create_task(self._open()),
            asyncio.create_task(self._count()),
        ]
        try:
            done, _ = await asyncio.wait([operator, *others[:1]], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stop.set()
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._queue.close()
            with suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(operator, 10)

    def _startup(self, settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)

    async def _event(self, type: str | None, body: kopf.Body, **_: Any) -> None:
        self._context = contextvars.copy_context()
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        if type == "DELETED":
            known = self._reconciler.stores.get(key)
            # Kopf keeps the events of one object in order: those of an older one of the same name may come late.
            if known and known.owner.uid == body["metadata"]["uid"]:
                self._queue.forget(key)
                self._reconciler.forget(key)
            return
        try:
            store = Store.read(body)
        except ValidationError as error:  # the CRD is of another release
            logger.error("The WebStore %s/%s cannot be read: %s", *key, error)
            return
        self._reconciler.note(store)
        self._wake(key)

    def _wake(self, key: Key) -> None:
        """Before all that is owned is known, a look would take it for missing."""
        if self._ready.is_set():
            if key in self._reconciler.stores:
                self._queue.wake(key)
        else:
            self._early.add(key)

    async def _open(self) -> None:
        await self._owned.synced()
        self._ready.set()
        for key in self._early:
            self._wake(key)
        self._early.clear()

    async def _count(self) -> None:
        while True:
            states = {"ready": 0, "progressing": 0, "degraded": 0, "paused": 0}
            for store in self._reconciler.stores.values():
                states[_state(store)] += 1
            for state, number in states.items():
                STORES.labels(state).set(number)
            await asyncio.sleep(5)

    def _announce(self, store: Store, type: str, reason: str, message: str) -> None:
        log = logger.warning if type == "Warning" else logger.info
        log("%s/%s: %s: %s", *store.key, reason, message)
        reference: Any = {"apiVersion": API_VERSION, "kind": KIND, "metadata": store.owner._asdict()}
        # Kopf finds its queue of Events by the context, which only its handlers have.
        self._context.run(kopf.event, kopf.Body(reference), type=type, reason=reason, message=message[:1000])


def _state(store: Store) -> str:
    if store.spec.paused:
        return "paused"
    for kind, state in (("Degraded", "degraded"), ("Ready", "ready")):
        condition = store.status.condition(kind)
        if condition and condition.status == "True":
            return state
    return "progressing"


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """As kubernetes.aio: the pod's service account, else KUBECONFIG. Called again when the API server no longer takes
    the token."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


async def _await_definition(cluster: Cluster) -> None:
    """Kopf looks for the kind once, at its start."""
    while True:
        try:
            found = await cluster.request("GET", f"/apis/{API_VERSION}")
            if any(resource["name"] == PLURAL for resource in found["resources"]):
                return
        except ApiError as error:
            if error.status != 404:
                raise
        logger.warning("The cluster has no WebStores: waiting for the CustomResourceDefinition (crds/webstores.yaml)")
        await asyncio.sleep(2)


def _log(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stdout)
    if settings.log_format == "json":
        fields = {"asctime": "timestamp", "levelname": "level", "name": "logger"}
        handler.setFormatter(JsonFormatter("{asctime}{levelname}{name}{message}", style="{", rename_fields=fields))
    else:
        handler.setFormatter(logging.Formatter("{asctime} {levelname:7} {message}", style="{"))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for noisy in ("kopf", "kubernetes", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))


async def serve(settings: Settings) -> None:
    """Runs this copy: it waits for the Lease, works while it has it, and ends when it is told to or has lost it."""
    async with await Cluster.connect() as cluster, http.serving(settings):
        leading = asyncio.create_task(election.lead(cluster, settings, lambda: Operator(cluster, settings).run()))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, leading.cancel)
        await leading


def main() -> None:
    """The `webstore-operator` command."""
    try:
        settings = Settings()
    except ValidationError as error:
        lines = (f"WEBSTORE_OPERATOR_{str(e['loc'][0]).upper()} is wrong: {e['msg']}" for e in error.errors())
        sys.exit("\n".join(lines))
    _log(settings)
    try:
        asyncio.run(serve(settings))
    except (asyncio.CancelledError, KeyboardInterrupt):
        logger.info("Stopped")
    except Exception as error:
        logger.critical("The operator ends: %s", error, exc_info=not isinstance(error, (ApiError, election.LeaseLost)))
        sys.exit(1)


if __name__ == "__main__":
    main()
