"""Services as they run, on a real PostgreSQL and behind HTTP, with events delivered within the process."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from tests.databases import SERVICES, Databases
from webstore_chassis.service import Surroundings
from webstore_embedded import store as embedded


@asynccontextmanager
async def listening(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """Answers HTTP for an application on the loopback; gives the address."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
    listener = socket.create_server(("127.0.0.1", port))
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def living(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Starts a service, and gives a client of it."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        yield client


def build(service: str, databases: Databases, surroundings: Surroundings, **settings: Any) -> FastAPI:
    """The application of one service, on a new database unless one is given."""
    module = SERVICES[service]
    model = next(value for name, value in vars(module).items() if name.endswith("Settings") and name != "Settings")
    app: FastAPI = module.build(
        model(**{"database_url": settings.pop("database_url", None) or databases.of(service), **settings}), surroundings
    )
    return app


@asynccontextmanager
async def running_store(
    databases: Databases, data: Path, **settings: Any
) -> AsyncIterator[tuple[embedded.Embedded, httpx.AsyncClient]]:
    """A whole store on new databases, and a client of it."""
    url = await asyncio.to_thread(databases.store)
    store = embedded.build(url, data, **{"mail_folder": data / "mails", **settings})
    async with (
        embedded.running(store),
        httpx.AsyncClient(transport=httpx.ASGITransport(store), base_url="http://store", timeout=120) as client,
    ):
        yield store, client


@pytest.fixture(scope="module")
async def store(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a whole store that the tests of one file share."""
    async with running_store(databases, tmp_path_factory.mktemp("store")) as (_, client):
        yield client
