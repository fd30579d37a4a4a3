"""One of several copies works: the one that holds the Lease (https://kubernetes.io/docs/concepts/architecture/leases/).

Kubernetes' own way, and the official client has it. Two copies that both believe for a moment that they have it do no
harm: every write is a server-side apply under the same field manager, or says which object it means by uid.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import aiohttp
from kubernetes.aio.client import V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from webstore_operator.cluster import ApiError, Cluster
from webstore_operator.metrics import LEADING
from webstore_operator.settings import Settings

logger = logging.getLogger(__name__)

LEASE = "webstore-operator"


class LeaseLost(Exception):
    """Another copy may work now; this one must end."""


class _Lock(LeaseLock):
    """A Lease whose requests fail, where the API server does not answer, as the library expects: not by an aiohttp
    error."""

    async def get(self, name: str, namespace: str) -> Any:
        return await _answered(lambda: self._get(name, namespace))

    async def _get(self, name: str, namespace: str) -> tuple[bool, Any]:
        self.lease_reference = await self.api_instance.read_namespaced_lease(name, namespace)
        return True, self.election_record(self.lease_reference)

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        # The library's own asks for `pretty=True`, which its generated client refuses (kubernetes 37.0.2).
        body = V1Lease(metadata=V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        return _taken(await _answered(lambda: self.api_instance.create_namespaced_lease(namespace, body)))

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        # The library's own logs a traceback where another copy was merely quicker.
        lease = self.lease_reference or V1Lease()
        lease.spec = self.update_lease(updated_record, lease.spec)
        return _taken(await _answered(lambda: self.api_instance.replace_namespaced_lease(name, namespace, lease)))


def _taken(answer: object) -> bool:
    if isinstance(answer, V1Lease):
        return True
    logger.info("The Lease is not taken: %s", answer[1].reason if isinstance(answer, tuple) else answer)
    return False


async def _answered(request: Callable[[], Awaitable[Any]]) -> Any:
    """The answer, or (False, why not); an API server that has too much to do is asked again, well before the Lease
    ends."""
    for attempt in range(1, 4):
        try:
            async with asyncio.timeout(5):
                return await request()
        except ApiException as error:
            failure = error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure = ApiException(status=503, reason=f"no answer: {error or type(error).__name__}")
        if attempt == 3 or (failure.status != 429 and (failure.status or 0) < 500):
            break
        await asyncio.sleep(0.3)
    return False, failure


async def lead(cluster: Cluster, settings: Settings, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Waits for the Lease, and works while it has it. A copy that is told to stop gives the Lease up, so that the
    next need not wait.

    Raises:
        LeaseLost: it could not be renewed in time.
        Exception: what the work raises.
    """
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def working() -> None:
        LEADING.set(1)
        try:
            await work()
        except Exception as error:
            if not ended.done():
                ended.set_exception(error)
        else:
            if not ended.done():
                ended.set_result(None)

    async def lost() -> None:
        if not ended.done():
            ended.set_exception(LeaseLost("the Lease could not be renewed in time; another copy may have it"))

    lock = _Lock(LEASE, settings.namespace, settings.identity, cluster.api)
    seconds = settings.lease_seconds
    config = Config(
        lock,
        lease_duration=seconds,
        renew_deadline=seconds * 2 / 3,
        retry_period=max(1, seconds / 6),
        onstarted_leading=working,
        onstopped_leading=lost,
    )
    election = asyncio.create_task(LeaderElection(config).run())

    def stopped(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) and not ended.done():
            ended.set_exception(failure)

    election.add_done_callback(stopped)
    try:
        await ended
    finally:
        LEADING.set(0)
        election.cancel()
        await _release(cluster, settings)


async def _release(cluster: Cluster, settings: Settings) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{settings.namespace}/leases/{LEASE}"
    try:
        async with asyncio.timeout(3):
            lease = await cluster.request("GET", path, tries=1)
            if lease["spec"].get("holderIdentity") == settings.identity:
                lease["spec"]["holderIdentity"] = None
                await cluster.request("PUT", path, body=lease, tries=1)
    except (ApiError, TimeoutError) as error:
        logger.info("The Lease was not given up, and ends by itself: %s", error)
