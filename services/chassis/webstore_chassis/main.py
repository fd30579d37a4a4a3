"""The command line of a service: `serve`, `migrate`, and what the service adds."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp

from webstore_chassis import context, logs, telemetry
from webstore_chassis import settings as settings_module
from webstore_chassis.database import Database, DatabaseError, first_line
from webstore_chassis.problems import Problem
from webstore_chassis.settings import PREFIX, AnySettings, Settings, SettingsError

log = logging.getLogger(__name__)

Command = tuple[str, Callable[[AnySettings], Awaitable[None]]]


def run(
    name: str,
    summary: str,
    model: type[AnySettings],
    build: Callable[[AnySettings], FastAPI],
    database: Callable[[AnySettings], Database],
    *,
    commands: Mapping[str, Command[AnySettings]] | None = None,
) -> None:
    """Runs one service's program.

    Args:
        model: its settings.
        build: makes its application.
        database: opens its database.
        commands: further verbs, each with a line of help and what it does.
    """
    commands = commands or {}
    arguments = _parser(name, summary, model, commands).parse_args()
    signal.signal(signal.SIGTERM, _end)
    try:
        settings = settings_module.load(model)
        context.service.set(name)
        configure_log(settings)
        if arguments.command == "migrate":
            asyncio.run(_migrate(database(settings), arguments.wait))
        elif arguments.command in commands:
            asyncio.run(commands[arguments.command][1](settings))  # type: ignore[arg-type]
        else:
            _serve(name, settings, build)
    except (SettingsError, DatabaseError, ListenError, CommandError, Problem) as error:
        sys.exit(f"webstore-{name}: {error}")
    except DBAPIError as error:
        sys.exit(f"webstore-{name}: the database ended this: {first_line(error)}")


def _end(*_: object) -> None:
    """What SIGTERM does by itself, but not to the first process of a container; `listen` has a gentler way. At once: a
    thread may be waiting for the database, and PostgreSQL undoes what is not committed.
    """
    logs.close()
    os._exit(128 + signal.SIGTERM)


def _serve(name: str, settings: AnySettings, build: Callable[[AnySettings], FastAPI]) -> None:
    if not settings.kafka_bootstrap_servers:
        raise SettingsError(f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS is not set: expected host:port of a Kafka broker.")
    telemetry.configure()
    app = build(settings)
    try:
        uvloop.run(_live(app, settings))
    finally:
        telemetry.shutdown()


async def _live(app: FastAPI, settings: Settings) -> None:
    async with app.router.lifespan_context(app):
        await listen(app, bound(settings.host, settings.port), settings)


def configure_log(settings: Settings, *, stream: Any = None) -> None:
    """See `logs.configure`.

    Raises:
        SettingsError: the log file cannot be written.
    """
    try:
        logs.configure(settings, stream=stream)
    except OSError as error:
        raise SettingsError(
            f"{PREFIX}LOG_FILE is wrong: {settings.log_file} cannot be written: {error.strerror}."
        ) from None


class CommandError(Exception):
    """A command cannot do its work; the message says why."""


class ListenError(Exception):
    """The port cannot be had; the message says what to do."""


class _Server(uvicorn.Server):
    """Tells when it listens, and leaves signals to `listen`: uvicorn raises them again once it has stopped, which would
    cut the rest of the stop short.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bound(host: str, port: int) -> socket.socket:
    """A socket that has the port, but does not listen yet: callers are refused, rather than kept waiting, until then.

    Raises:
        ListenError: the port cannot be had.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        own = socket.socket(family, kind)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind(address)
    except OSError as error:
        raise ListenError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Is another program using it? "
            f"Choose another port ({PREFIX}PORT; the embedded store: --port, or make run PORT=…)."
        ) from None
    return own


async def listen(
    app: ASGIApp, listener: socket.socket, settings: Settings, *, started: Callable[[int], None] = lambda _: None
) -> None:
    """Answers requests until SIGTERM or SIGINT, then finishes those in flight and returns.

    Args:
        listener: see `bound`.
        started: called with the port once requests are answered.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.shutdown_seconds),
        # Longer than a gateway keeps its idle connections (Traefik: 90 s), so that it is the one to close them.
        timeout_keep_alive=120,
    )
    server = _Server(config, partial(started, listener.getsockname()[1]))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(setattr, server, "should_exit", True))
    # All that is there now stays: looking through it for garbage again and again would hold up requests for 100 ms.
    gc.collect()
    gc.freeze()
    # What a request waits for the threads that write log lines and send spans: with the default of 5 ms its p99 was 74
    # instead of 49 ms where everything is traced.
    sys.setswitchinterval(0.001)
    await server.serve(sockets=[listener])


async def _migrate(database: Database, wait_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    said = ""
    try:
        while True:
            try:
                await database.migrate()
                break
            except DatabaseError as error:
                if loop.time() >= deadline:
                    raise
                if str(error) != said:
                    said = str(error)
                    log.warning("waiting for the database, at most %.0f s: %s", wait_seconds, said)
                await asyncio.sleep(1)
    finally:
        await database.close()
    log.info("the schema is the newest")


def _parser(
    name: str, summary: str, model: type[Settings], commands: Mapping[str, Command[AnySettings]]
) -> argparse.ArgumentParser:
    rows = settings_module.table([model])
    width = max(len(variable) for variable, _, _ in rows)
    lines = [
        f"  {variable:{width}}  {meaning}{f' [{default}]' if default else ''}" for variable, default, meaning in rows
    ]
    parser = argparse.ArgumentParser(
        prog=f"webstore-{name}",
        description=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="settings (environment variables) [default]:\n" + "\n".join(lines),
    )
    verbs = parser.add_subparsers(dest="command", metavar="command")
    verbs.add_parser("serve", help="answer requests (this is what no command does)")
    migrate = verbs.add_parser("migrate", help="bring the database's schema up to date, and end")
    migrate.add_argument(
        "--wait", type=float, default=0, metavar="SECONDS", help="how long to wait for the database [%(default)s]"
    )
    for verb, (help_text, _) in commands.items():
        verbs.add_parser(verb, help=help_text)
    return parser
