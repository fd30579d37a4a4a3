"""The `webstore` command: `run` the whole store on this machine, `demo`, which shops in a store, and `rebuild`."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from sqlalchemy.exc import OperationalError

from webstore_chassis import context, telemetry
from webstore_chassis import settings as settings_module
from webstore_chassis.database import DatabaseError
from webstore_chassis.main import CommandError, ListenError, bound, configure_log, listen
from webstore_chassis.problems import Problem
from webstore_chassis.settings import SettingsError
from webstore_customer.app import CustomerSettings
from webstore_embedded import demo
from webstore_embedded.postgres import Postgres
from webstore_embedded.store import build, create_databases, running


def main(arguments: Sequence[str] | None = None) -> None:
    """The program `webstore`."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "demo":
            demo.play(options.url, fixed_numbers=options.fixed_numbers)
        elif options.command == "rebuild":
            uvloop.run(_rebuild(options.data.expanduser().absolute()))
        else:
            uvloop.run(_run(options.data.expanduser().absolute(), options.host, options.port))
    except demo.DemoFailed as error:
        sys.exit(f"webstore demo: {error}")
    except (SettingsError, DatabaseError, ListenError, CommandError, Problem) as error:
        sys.exit(f"webstore: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="webstore", description="The whole WebStore on this machine.")
    verbs = parser.add_subparsers(dest="command", required=True, metavar="command")
    run = verbs.add_parser("run", help="start the store, with a PostgreSQL of its own")
    rebuild = verbs.add_parser("rebuild", help="make the read model of carts anew, also while the store runs")
    for verb in (run, rebuild):
        verb.add_argument("--data", type=Path, default=Path(".data"), help="folder that keeps everything [%(default)s]")
    run.add_argument("--host", default="127.0.0.1", help="address to listen on [%(default)s]")
    run.add_argument("--port", type=int, default=8080, help="port to listen on [%(default)s]")
    play = verbs.add_parser("demo", help="shop in a store over HTTP, showing each step")
    play.add_argument("--url", default="http://localhost:8080", help="where the store is [%(default)s]")
    play.add_argument(
        "--fixed-numbers",
        action="store_true",
        help="to the letter: products 001 and 002, cart 900, carts followed within 1 s; needs an empty store",
    )
    return parser


async def _run(data: Path, host: str, port: int) -> None:
    started = time.monotonic()
    overrides = {
        "host": host,
        "port": port,
        "mail_folder": data / "mails",
        "log_format": os.environ.get("WEBSTORE_LOG_FORMAT", "text"),
        "log_level": os.environ.get("WEBSTORE_LOG_LEVEL", "WARNING"),
        "log_file": os.environ.get("WEBSTORE_LOG_FILE", str(data / "webstore.log")),
    }
    # Where the database is, is known only once it runs; until then nothing asks for it.
    settings = settings_module.load(CustomerSettings, database_url="postgresql:///embedded", **overrides)
    listener = bound(host, port)
    await asyncio.to_thread(_check_folder, data)
    context.service.set("webstore")
    configure_log(settings, stream=sys.stderr)
    postgres = await asyncio.to_thread(Postgres, data / "postgres")
    telemetry.configure()
    try:
        await create_databases(postgres.url)
    except OperationalError as error:
        raise DatabaseError(f"The embedded PostgreSQL cannot be used: {error.orig}.") from None
    store = build(postgres.url, data, **overrides)

    def announce(actual_port: int) -> None:
        print(
            f"WebStore answers on http://localhost:{actual_port} ({time.monotonic() - started:.1f} s to start).\n"
            f"  API pages   http://localhost:{actual_port}/\n"
            f"  data        {data} (mails in mails/, the log in webstore.log)\n"
            f"  try         webstore demo --url http://localhost:{actual_port}\n"
            "  stop        Ctrl-C",
            flush=True,
        )

    keeping_up = asyncio.create_task(postgres.keep_up())
    try:
        async with running(store):
            await listen(store, listener, settings, started=announce)
    finally:
        keeping_up.cancel()
        await asyncio.to_thread(telemetry.shutdown)
    print("WebStore has stopped; its data is kept.")


async def _rebuild(data: Path) -> None:
    if not await asyncio.to_thread((data / "postgres").exists):
        raise CommandError(f"There is no store in {data}; --data names another folder")
    postgres = await asyncio.to_thread(Postgres, data / "postgres")
    await build(postgres.url, data, mail_folder=data / "mails").rebuild()


def _check_folder(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data):
            pass
    except OSError as error:
        raise SettingsError(
            f"The data folder {data} cannot be written: {error.strerror}; --data names another"
        ) from None
