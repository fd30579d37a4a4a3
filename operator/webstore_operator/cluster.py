"""The few requests that the operator makes, by the official client's asyncio part."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client import rest
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.utils._retry_base import retry_after_seconds

from webstore_operator.kinds import ObjectKind
from webstore_operator.metrics import API_ERRORS

Object = dict[str, Any]

METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_TRANSIENT = {408, 409, 429, 500, 502, 503, 504}
_TRIES = 4
_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)


class ApiError(Exception):
    """The API server's answer to a request that it did not carry out.

    Attributes:
        status: HTTP status code; 0 where it did not answer.
        causes: details, as NamespaceTerminating.
    """

    def __init__(self, status: int, message: str, causes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status, self.causes = status, causes

    @property
    def transient(self) -> bool:
        """Whether the same request may well succeed later."""
        return self.status == 0 or self.status in _TRANSIENT


class Cluster:
    """A connection to the API server. Use it as `async with await Cluster.connect() as cluster`."""

    def __init__(self, api: client.ApiClient) -> None:
        self.api = api

    @classmethod
    async def connect(cls) -> "Cluster":
        """Connects as the pod's service account, or as KUBECONFIG says; rotated tokens are read again by the client."""
        configuration = client.Configuration()
        # A connection for each worker's requests; the watches come besides.
        configuration.connection_pool_maxsize = 100
        # As Kopf: no proxy of the environment. aiohttp would look for one, and read ~/.netrc on the event loop, at each
        # request, which is a fifth of this process's CPU where there are both.
        configuration.client_session_kwargs = {"trust_env": False}
        try:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return cls(client.ApiClient(configuration))

    async def __aenter__(self) -> "Cluster":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.api.close()  # type: ignore[no-untyped-call]

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        tries: int = _TRIES,
    ) -> Object:
        """One request; what may be gone in a moment (429, 5xx, a lost connection) is tried again a few times, as the
        server asks.

        Raises:
            ApiError: it was not carried out.
        """
        for attempt in range(1, tries + 1):
            try:
                response = await self._send(
                    method, path, query, accept=accept, limits=_REQUEST_TIMEOUT, body=body, content_type=content_type
                )
                answer: Object = json.loads(await _read(response))
                return answer
            except ApiException as error:
                failure, wait = _error(error), retry_after_seconds(error)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                failure = ApiError(0, f"the API server does not answer: {error or type(error).__name__}")
                wait = None
            # A conflict that does not name another manager's field passes; one over creating something does not.
            lost = failure.status == 409 and (method != "PATCH" or "FieldManagerConflict" in failure.causes)
            if attempt == tries or lost or not failure.transient:
                raise failure
            API_ERRORS.labels(str(failure.status)).inc()
            await asyncio.sleep(wait if wait is not None else random.uniform(0.1, 0.2) * 2**attempt)  # noqa: S311
        raise AssertionError("unreachable")

    async def watch(
        self,
        path: str,
        query: dict[str, str],
        *,
        accept: str,
        seconds: int,
        quiet: float,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[Object]:
        """The events of a watch until the server ends it.

        Args:
            seconds: when the server is asked to end it.
            quiet: seconds without a line after which the connection counts as lost; bookmarks come each minute.
            opened: called when the server has taken the watch; its first event may be long in coming.

        Raises:
            ApiError: it cannot go on; status 410 means: list again.
        """
        timeout = aiohttp.ClientTimeout(total=seconds + 30, sock_connect=10, sock_read=quiet)
        query = query | {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        response = None
        try:
            response = await self._send("GET", path, query, accept=accept, limits=timeout)
            opened()
            async for line in response.response.content:
                event: Object = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(status.get("code", 500), status.get("message", ""))
                yield event
        except ApiException as error:
            raise _error(error) from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiError(0, f"the watch broke off: {error or type(error).__name__}") from None
        finally:
            if response is not None:
                response.response.close()

    async def apply(
        self, kind: ObjectKind, body: Object, *, manager: str, force: bool, subresource: str = ""
    ) -> Object:
        """Server-side apply (https://kubernetes.io/docs/reference/using-api/server-side-apply/); returns the object,
        or its metadata."""
        metadata = body["metadata"]
        return await self.request(
            "PATCH",
            kind.path(metadata["namespace"], metadata["name"]) + subresource,
            query={"fieldManager": manager, "force": str(force).lower()},
            body=body,
            content_type="application/apply-patch+yaml",
            accept="application/json" if kind.whole else METADATA_ONLY,
        )

    async def delete(self, kind: ObjectKind, namespace: str, name: str, uid: str) -> None:
        """Deletes that very object, if it is still there; what it owns goes with it."""
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self.request("DELETE", kind.path(namespace, name), body=body, accept=METADATA_ONLY)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def get(self, kind: ObjectKind, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        try:
            return await self.request("GET", kind.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None,
        *,
        accept: str,
        limits: aiohttp.ClientTimeout,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> rest.RESTResponse:
        request = await self.api.param_serialize(
            method,
            path + ("?" + urlencode(query) if query else ""),
            header_params={"Accept": accept, "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        method, url, headers, _, _ = request
        response = await self.api.call_api(method, url, headers, body, [], _request_timeout=limits)
        if not 200 <= response.status <= 299:
            text = (await _read(response)).decode(errors="replace")
            raise ApiException(http_resp=response, body=text)
        return response


async def _read(response: rest.RESTResponse) -> bytes:
    content: bytes = await response.read()  # type: ignore[no-untyped-call]
    return content


def _error(error: ApiException) -> ApiError:
    try:
        status = json.loads(error.body or "")
        details = status.get("details") or {}
        causes = tuple(cause.get("reason", "") for cause in details.get("causes") or [])
        return ApiError(error.status or 0, status.get("message") or str(error.reason), causes)
    except (ValueError, AttributeError, TypeError):
        return ApiError(error.status or 0, f"the API server answers {error.status} {error.reason}")
