"""A proxy in front of the API server that makes its faults: it answers 429, 500 or 409 in its stead, and cuts
connections."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from tests.operator.kube import Kube

Fault = Callable[[web.BaseRequest], int | None]


class Proxy:
    """Passes everything on, but for what `fault` says.

    Attributes:
        fault: told each request, returns the status to answer with instead, or None.
        counted: requests by method and kind of answer.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.fault: Fault = lambda _: None
        self.counted: Counter[str] = Counter()
        self.url = ""
        self._watches: set[asyncio.Transport] = set()

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    def drop_watches(self) -> int:
        """Cuts the connections of all watches, without a word; returns how many."""
        watches, self._watches = self._watches, set()
        for transport in watches:
            transport.abort()
        return len(watches)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request."""
        status = self.fault(request)
        if status is not None:
            self.counted[f"{request.method} {status} made up"] += 1
            return web.json_response(
                _status(status), status=status, headers={"Retry-After": "1"} if status == 429 else {}
            )
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in ("host", "content-length")
        }
        body = await request.read()
        url = self._kube.server + request.raw_path
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            self.counted[f"{request.method} {answer.status}"] += 1
            kept = {
                name: answer.headers[name] for name in ("Content-Type", "Content-Encoding") if name in answer.headers
            }
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            watch = request.query.get("watch") == "true"
            if watch and request.transport:
                self._watches.add(request.transport)
            try:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            finally:
                if request.transport:
                    self._watches.discard(request.transport)
            await response.write_eof()
            return response

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Proxy"]:
        """Answers on a port of its own while the block runs."""
        connector = TCPConnector(ssl=self._kube.trust, limit=0)
        async with ClientSession(
            connector=connector, timeout=ClientTimeout(total=None), auto_decompress=False
        ) as self._session:
            # A watch that is quiet does not notice that its operator is gone: nobody waits for it at the end.
            runner = web.ServerRunner(web.Server(self.handle, access_log=None), shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield self
            finally:
                self.drop_watches()
                await runner.cleanup()


def _status(code: int) -> dict[str, object]:
    reasons = {
        404: "NotFound",
        410: "Expired",
        409: "Conflict",
        429: "TooManyRequests",
        500: "InternalError",
        503: "ServiceUnavailable",
    }
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": reasons[code],
        "message": "made up",
    }
