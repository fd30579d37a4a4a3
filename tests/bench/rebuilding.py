"""The rebuild of the read model at a small and a large journal: its time must grow as the events do, its memory not."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.bench.streams import FILL
from tests.ports import free_port
from tests.processes import Postgres, Process, clean_environment
from webstore_embedded.store import _create_databases

_BIN = Path(sys.executable).parent


def run(events: int) -> dict[str, Any]:
    """Events a second, and the most memory that the rebuild and shopping-command took, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(Path(folder) / "postgres")
        try:
            return _rebuild(postgres, Path(folder), events)
        finally:
            postgres.stop()


def _rebuild(postgres: Postgres, folder: Path, events: int) -> dict[str, Any]:
    _create_databases(postgres.url)
    port = free_port()
    # The rebuild reads the journal from shopping-command and needs no broker: none is at this address.
    shared = {"WEBSTORE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}", "WEBSTORE_LOG_LEVEL": "ERROR"}
    command_environment = {
        **clean_environment(),
        **shared,
        "WEBSTORE_DATABASE_URL": postgres.database("shopping-command"),
        "WEBSTORE_PORT": str(port),
    }
    query_environment = {
        **clean_environment(),
        **shared,
        "WEBSTORE_DATABASE_URL": postgres.database("shopping-query"),
        "WEBSTORE_SHOPPING_COMMAND_URL": f"http://127.0.0.1:{port}",
    }
    shopping_command = Process(
        [str(_BIN / "webstore-shopping-command"), "serve"], command_environment, port, folder / "command.log"
    )
    shopping_command.start()
    try:
        shopping_command.wait()
        with psycopg.connect(postgres.database("shopping-command")) as connection:
            connection.execute(FILL, {"events": events})
        with psycopg.connect(postgres.database("shopping-command"), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE journal")
        query = str(_BIN / "webstore-shopping-query")
        subprocess.run([query, "migrate"], env=query_environment, check=True, capture_output=True)
        started = time.perf_counter()
        with (folder / "rebuild.log").open("wb") as log:
            rebuilding = subprocess.Popen([query, "rebuild"], env=query_environment, stdout=log, stderr=log)
        peak = {"rebuild": 0.0, "shopping-command": 0.0}
        watched = {"rebuild": psutil.Process(rebuilding.pid), "shopping-command": psutil.Process(shopping_command.pid)}
        while rebuilding.poll() is None:
            for name, process in watched.items():
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    peak[name] = max(peak[name], process.memory_info().rss / 2**20)
            time.sleep(0.05)
        seconds = time.perf_counter() - started
        said = (folder / "rebuild.log").read_text()
        if rebuilding.returncode:
            raise RuntimeError(said)
        print(said.strip().splitlines()[-2], flush=True)
        return {"events": events, "rate": events / seconds, "seconds": seconds, "memory": peak}
    finally:
        shopping_command.stop()
