"""The five services in one process: their databases on one PostgreSQL, their events and calls delivered within the
process.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
from fastapi import FastAPI
from psycopg import sql
from sqlalchemy.engine import make_url
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from webstore_chassis import settings as settings_module
from webstore_chassis.problems import NotFound
from webstore_chassis.service import Surroundings
from webstore_chassis.settings import Settings
from webstore_chassis.transport import Local
from webstore_customer import app as customer
from webstore_order import app as order
from webstore_product import app as product
from webstore_shopping_command import app as shopping_command
from webstore_shopping_query import app as shopping_query

_GROUPS = 4  # customer, product, shopping-command and shopping-query consume
_URLS = {name: f"http://{name}.embedded" for name in ("order", "product", "shopping-command")}


@dataclass(frozen=True)
class Embedded:
    """Five applications behind one.

    Args:
        rebuild: makes the read model anew; the services need not be running in this process.
    """

    apps: dict[str, FastAPI]
    rebuild: Callable[[], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands a request to the service that the first part of its path names, as the gateway does in a cluster."""
        if scope["type"] != "http":
            return
        first = scope["path"].lstrip("/").partition("/")[0]
        answer: ASGIApp
        if first in self.apps:
            answer = self.apps[first]
        elif scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            answer = HTMLResponse(_page(self.apps))
        elif first in ("livez", "metrics"):
            answer = self.apps["product"]
        elif first == "readyz":
            answer = await self._ready()
        else:
            answer = NotFound("There is nothing here. The five services are listed at GET /.").response()
        await answer(scope, receive, send)

    async def _ready(self) -> ASGIApp:
        for name, app in self.apps.items():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{name}") as client:
                answer = await client.get("/readyz")
            if answer.status_code != 200:
                return PlainTextResponse(f"{name}: {answer.text}", 503)
        return PlainTextResponse("ready\n")


def build(database_url: str, data: Path, **overrides: Any) -> Embedded:
    """The store on a PostgreSQL that has the five databases (see `create_databases`).

    Args:
        database_url: the server's, with any database.
        data: folder for mails and dead letters.
        overrides: settings for all services.
    """
    transport = Local(_GROUPS, data / "dead-letters.jsonl")
    http: dict[str, httpx.AsyncBaseTransport] = {}
    surroundings = Surroundings(transport, http)
    urls = {
        "order_url": _URLS["order"],
        "product_url": _URLS["product"],
        "shopping_command_url": _URLS["shopping-command"],
    }
    token = secrets.token_urlsafe(32)

    def settings(model: type[Settings], name: str) -> Any:
        url = make_url(database_url).set(database=_database(name)).render_as_string(hide_password=False)
        defaults: dict[str, Any] = {"database_url": url, "internal_token": token, "database_pool_size": 4, **urls}
        return settings_module.load(model, **{**defaults, **overrides})

    http.update({url: _Later() for url in _URLS.values()})
    query_settings = settings(shopping_query.ShoppingQuerySettings, "shopping-query")
    command_settings = settings(shopping_command.ShoppingCommandSettings, "shopping-command")
    apps = {
        customer.NAME: customer.build(settings(customer.CustomerSettings, "customer"), surroundings),
        product.NAME: product.build(settings(product.ProductSettings, "product"), surroundings),
        order.NAME: order.build(settings(order.OrderSettings, "order"), surroundings),
        shopping_command.NAME: shopping_command.build(command_settings, surroundings),
        shopping_query.NAME: shopping_query.build(query_settings, surroundings),
    }
    for name, url in _URLS.items():
        later = http[url]
        assert isinstance(later, _Later)  # noqa: S101 - what was put there above
        later.transport = httpx.ASGITransport(apps[name], raise_app_exceptions=False)
    return Embedded(apps, partial(shopping_query.rebuild, query_settings, surroundings))


@asynccontextmanager
async def running(store: Embedded) -> AsyncIterator[None]:
    """Starts all services, and stops them at the end."""
    async with AsyncExitStack() as stack:
        for app in store.apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield


async def create_databases(database_url: str) -> None:
    """Creates those of the five databases that are not there."""
    await asyncio.to_thread(_create_databases, database_url)


def _create_databases(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for name in ("customer", "product", "order", "shopping-command", "shopping-query"):
            if _database(name) not in there:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_database(name))))


def _database(name: str) -> str:
    return name.replace("-", "_")


class _Later(httpx.AsyncBaseTransport):
    """Calls between services, which exist only once all are built."""

    transport: httpx.AsyncBaseTransport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.transport.handle_async_request(request)


def _page(apps: dict[str, FastAPI]) -> str:
    rows = "".join(
        f'<li><a href="/{name}/-/docs">{name}</a> (<a href="/{name}/-/openapi.json">OpenAPI</a>): {app.summary}</li>'
        for name, app in apps.items()
    )
    return f"<!doctype html><title>WebStore</title><h1>WebStore</h1><ul>{rows}</ul><p><a href=/metrics>Metrics</a></p>"
