"""Migrations: one history a service, safe from several processes at once."""

import asyncio
import sys
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from tests.databases import SERVICES, Databases
from webstore_chassis.database import DatabaseError
from webstore_chassis.settings import Settings


async def test_replicas_may_migrate_at_once(databases: Databases) -> None:
    service = "customer"
    url = databases.empty()
    program = str(Path(sys.executable).parent / f"webstore-{service}")
    environment = {"WEBSTORE_DATABASE_URL": url, "WEBSTORE_MAIL_FOLDER": "/nowhere", "WEBSTORE_LOG_FORMAT": "text"}
    migrations = [await asyncio.create_subprocess_exec(program, "migrate", env=environment) for _ in range(3)]
    assert [await migration.wait() for migration in migrations] == [0, 0, 0]
    database = SERVICES[service].database(Settings(database_url=url))
    assert await database.ready() is None
    await database.close()


async def test_a_schema_that_is_not_the_newest_is_not_ready(databases: Databases) -> None:
    url = databases.of("product")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    database = SERVICES["product"].database(Settings(database_url=url))
    assert "migrate" in str(await database.ready())
    await database.close()


async def test_a_schema_of_a_newer_release_is_worked_on_and_left_alone(databases: Databases) -> None:
    url = databases.of("product")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        database = SERVICES["product"].database(Settings(database_url=url))
        await database.migrate()
        assert await database.ready() is None
        await database.close()
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


async def test_a_password_may_have_any_character_and_every_connection_has_a_limit_to_silence(
    databases: Databases,
) -> None:
    password = "to p%20+@:/?#'\\ é"
    url = make_url(databases.of("product")).set(password=password).render_as_string(hide_password=False)
    database = SERVICES["product"].database(Settings(database_url=url, database_password=SecretStr(password)))
    async with await database.connect_raw() as raw, database.engine.connect() as pooled:
        for driver in (raw, (await pooled.get_raw_connection()).driver_connection):
            assert driver is not None
            assert driver.info.password == password
            assert driver.info.get_parameters()["tcp_user_timeout"] == "10000"
    await database.close()


async def test_a_database_that_is_gone_is_named_in_one_sentence_without_its_password() -> None:
    settings = Settings(database_url="postgresql://ann:secret@127.0.0.1:1/store")
    database = SERVICES["order"].database(settings)
    with pytest.raises(DatabaseError, match=r"postgresql://ann:\*+@127\.0\.0\.1:1/store cannot be used") as error:
        await database.migrate()
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
