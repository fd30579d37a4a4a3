"""A service's PostgreSQL: connections (SQLAlchemy Core on psycopg) and migrations (Alembic, one history a service)."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from webstore_chassis.settings import Settings

log = logging.getLogger(__name__)

_MIGRATION_LOCK = 0x5EED
# Work that a dead client left open must not hold locks, or keep the relay waiting (see `journal`), for ever.
_SESSION = "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s"
# A database that is gone without a word is noticed within half a minute, and not when the kernel gives up after a
# quarter of an hour. The first is for what was sent, the others for a connection that only listens.
_ALIVE = {"tcp_user_timeout": 10_000, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


# What any statement may end with: PostgreSQL, or the way to it, failed; or no connection was free in time.
FAILURES = (DBAPIError, PoolTimeout)


class DatabaseError(Exception):
    """The database cannot be used at the start; the message says why, and what to do."""


class Database:
    """The database of one service.

    Its migrations are numbered, and only add to the schema: while an upgrade is under way, and after it is rolled back,
    a service works on the schema of a newer release.

    Args:
        settings: where it is.
        migrations: folder with the service's Alembic versions.
        application: how its sessions call themselves in pg_stat_activity.
    """

    def __init__(self, settings: Settings, migrations: Path, application: str) -> None:
        self.url: URL = settings.sqlalchemy_url()
        self._connect_args = {**_ALIVE, "connect_timeout": 3, "application_name": application}
        self.engine: AsyncEngine = create_async_engine(
            self.url,
            pool_size=settings.database_pool_size,
            max_overflow=0,
            pool_timeout=5,
            hide_parameters=True,  # errors are logged, and parameters may be personal data
            connect_args={**self._connect_args, "options": _SESSION},
        )
        # One statement needs no transaction around it: half the round trips.
        self.autocommit: AsyncEngine = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._alembic = Config()
        self._alembic.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        self._alembic.set_main_option("path_separator", "newline")
        self._alembic.set_main_option("version_locations", str(migrations))
        self._newest = ScriptDirectory.from_config(self._alembic).get_current_head() or ""

    async def migrate(self) -> None:
        """Brings the schema to the newest version, or leaves it as a newer release made it.

        Several replicas may do so at once: one migrates, the others wait.

        Raises:
            DatabaseError: the database cannot be reached, or refuses.
        """
        try:
            await asyncio.to_thread(self._migrate)
        except OperationalError as error:
            raise DatabaseError(
                f"The database {_where(self.url)} cannot be used: {first_line(error)}. "
                "Is it running, and are WEBSTORE_DATABASE_URL and WEBSTORE_DATABASE_PASSWORD right?"
            ) from None
        except DBAPIError as error:
            raise DatabaseError(
                f"The schema of {_where(self.url)} cannot be brought up to date: {first_line(error)}. "
                "Its user must own the database, or may create schemas and tables in it."
            ) from None

    def _migrate(self) -> None:
        engine = create_engine(self.url, connect_args={**_ALIVE, "connect_timeout": 5})
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
                connection.commit()
                if self._covered_by(MigrationContext.configure(connection).get_current_heads()):
                    return
                self._alembic.attributes["connection"] = connection
                command.upgrade(self._alembic, "head")
                connection.commit()
        finally:
            engine.dispose()  # which ends the session, and with it the lock

    async def ready(self) -> str | None:
        """None if the database answers and its schema is the newest, or newer; else why not, in words."""
        try:
            async with asyncio.timeout(2), self.autocommit.connect() as connection:
                versions = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalars().all()
        except TimeoutError:
            return "the database does not answer within 2 s"
        except DBAPIError as error:
            return f"the database cannot be used: {type(error.orig).__name__}"
        if self._covered_by(versions):
            return None
        return "the database's schema is not the newest: run the migrate command"

    def _covered_by(self, versions: Sequence[str]) -> bool:
        return bool(versions) and min(versions) >= self._newest

    async def connect_raw(self) -> "psycopg.AsyncConnection[tuple[object, ...]]":
        """A connection outside the pool, for what needs a session of its own (LISTEN, session locks)."""
        _, keywords = self.engine.dialect.create_connect_args(self.url)
        return await psycopg.AsyncConnection.connect(**{**self._connect_args, **keywords}, autocommit=True)

    async def close(self) -> None:
        """Closes all connections."""
        await self.engine.dispose()


async def unlimited(connection: AsyncConnection) -> None:
    """Lets this transaction's statements run for as long as they need."""
    await connection.execute(text("SET LOCAL statement_timeout = 0"))
    await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def first_line(error: DBAPIError) -> str:
    """What the database says, without the statement."""
    return str(error.orig).strip().splitlines()[0]


def _where(url: URL) -> str:
    return make_url(url).set(password=None, drivername="postgresql").render_as_string()
