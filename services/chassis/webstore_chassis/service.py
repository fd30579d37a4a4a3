"""From parts to a service: the FastAPI application, what runs beside it, and its life from start to stop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import PlainTextResponse, Response

from webstore_chassis import context, problems, telemetry
from webstore_chassis.client import Downstream
from webstore_chassis.database import Database
from webstore_chassis.edge import Edge
from webstore_chassis.kafka import Kafka
from webstore_chassis.metrics import RESTARTS, exposition
from webstore_chassis.settings import Settings
from webstore_chassis.transport import Transport

log = logging.getLogger(__name__)

VERSION = "0.1.0"
Work = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Surroundings:
    """What a service gets from outside. By default: Kafka, and the network; embedded: the process itself.

    Args:
        transport: what carries events.
        http: base URL → what carries requests there.
    """

    transport: Transport | None = None
    http: Mapping[str, httpx.AsyncBaseTransport] = field(default_factory=dict)

    def transport_for(self, settings: Settings, service: str, topics: Sequence[str]) -> Transport:
        """The transport for a service that publishes or consumes these topics."""
        return self.transport or Kafka(settings, service, topics)

    def downstream(self, settings: Settings, service: str, name: str, url: str) -> Downstream:
        """The service that is called by this name and at this address, for a service that calls it."""
        return Downstream(service, name, url, settings, self.http.get(url))


def application(
    name: str,
    summary: str,
    settings: Settings,
    database: Database,
    routers: Sequence[APIRouter],
    *,
    background: Mapping[str, Work],
    closing: Sequence[Work] = (),
) -> FastAPI:
    """A service's application; starting it starts the background work, stopping it ends that and closes everything.

    Args:
        background: what runs beside the requests, by name; begun again, with growing pauses, when it fails.
        closing: closed in this order at the end; the database is closed last.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for close in (database.close, *reversed(closing)):
                stack.push_async_callback(close)
            if settings.migrate_on_start:
                await database.migrate()
            tasks = [
                asyncio.create_task(_keep_up(name, work, run), name=f"{name}: {work}")
                for work, run in background.items()
            ]
            stack.push_async_callback(_cancel, tasks)
            yield

    app = FastAPI(
        title=f"WebStore {name}",
        summary=summary,
        version=VERSION,
        lifespan=life,
        docs_url=f"/{name}/-/docs",
        openapi_url=f"/{name}/-/openapi.json",
        redoc_url=None,
        redirect_slashes=False,
        # `telemetry` makes the spans, and `edge` the figures.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        # Not `include_router`, which would look for a request's route in one router after the other.
        routes=[route for router in (*routers, _operations(database)) for route in router.routes],
    )
    # Last, what takes any rest of a path: it would take the paths of the description, which FastAPI adds at the end.
    app.router.routes.sort(key=lambda route: getattr(route, "path", "").endswith(":path}"))
    problems.handle(app)
    app.add_middleware(Edge, service=name, max_body_bytes=settings.max_body_bytes)
    telemetry.trace_statements(database.engine)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _operations(database: Database) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def alive() -> Response:
        return PlainTextResponse("alive\n")

    @router.get("/readyz")
    async def ready() -> Response:
        reason = await database.ready()
        return PlainTextResponse(f"not ready: {reason}\n", 503) if reason else PlainTextResponse("ready\n")

    @router.get("/metrics")
    async def metrics() -> Response:
        content, media_type = exposition()
        return Response(content, media_type=media_type)

    return router


async def _keep_up(service: str, work: str, run: Work) -> None:
    context.service.set(service)
    pause = 0.1
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await run()
        except Exception as error:
            log.warning(
                "%s stopped and begins again: %s", work, _reason(error), exc_info=log.isEnabledFor(logging.DEBUG)
            )
        RESTARTS.labels(service, work).inc()
        pause = 0.1 if loop.time() - began > 60 else min(pause * 2, 5.0)
        await asyncio.sleep(pause)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


async def _cancel(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def every(seconds: float, sweep: Work) -> Work:
    """Background work that runs `sweep` again and again."""

    async def run() -> None:
        while True:
            await sweep()
            await asyncio.sleep(seconds)

    return run


def _openapi(app: FastAPI) -> dict[str, Any]:
    if not app.openapi_schema:
        schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        problem = problems.ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["ProblemDetails"] = problem
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema
