"""What is told to end does so at once, also where it is a container's first process: that one ignores SIGTERM unless it
has a handler, as these processes do from their start.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg

from tests.databases import Databases
from tests.ports import free_port
from webstore_chassis.database import _MIGRATION_LOCK

BIN = Path(sys.executable).parent


@contextmanager
def started(*command: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        ["sh", "-c", 'trap "" TERM; exec "$@"', "sh", BIN / command[0], *command[1:]],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], **environment},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_migration_that_waits_for_a_database_that_is_away() -> None:
    address = "postgresql://ann@127.0.0.1:1/order"
    with started("webstore-order", "migrate", "--wait", "300", WEBSTORE_DATABASE_URL=address) as process:
        assert process.stdout is not None
        assert "waiting for the database" in process.stdout.readline()
        process.terminate()
        assert process.wait(10) == 143


def test_a_migration_that_waits_for_another(databases: Databases) -> None:
    address = databases.empty()
    with (
        psycopg.connect(address, autocommit=True) as other,
        started("webstore-order", "migrate", WEBSTORE_DATABASE_URL=address) as process,
    ):
        other.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        ends = time.monotonic() + 60
        while not other.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone():
            assert time.monotonic() < ends
            time.sleep(0.02)
        process.terminate()
        assert process.wait(10) == 143


def test_a_service_that_answers_ends_in_its_own_way(databases: Databases) -> None:
    port = free_port()
    settings = {
        "WEBSTORE_DATABASE_URL": databases.of("order"),
        "WEBSTORE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "WEBSTORE_PORT": str(port),
    }
    with started("webstore-order", **settings) as process:
        ends = time.monotonic() + 60
        while not answers(port):
            assert time.monotonic() < ends
            time.sleep(0.05)
        process.terminate()
        assert process.wait(30) == 0


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
