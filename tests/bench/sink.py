"""Takes what is posted, and answers after a while: `python -m tests.bench.sink PORT SECONDS`."""

import asyncio
import sys

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send


class Sink:
    """An endpoint for traces that costs next to nothing itself.

    Args:
        seconds: how long each answer takes.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        while (await receive()).get("more_body"):
            pass
        if scope["path"] != "/readyz":
            await asyncio.sleep(self._seconds)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    sink = Sink(float(sys.argv[2]))
    server = uvicorn.Server(uvicorn.Config(sink, port=int(sys.argv[1]), lifespan="off", log_config=None))
    uvloop.run(server.serve())
