"""kill -9 at random moments while customers shop, and then everything is counted.

`WEBSTORE_FAULTS_SEED` repeats the moments of a run, as far as the machine does; `WEBSTORE_FAULTS_CHECKOUTS` sets how
much is shopped at least.
"""

from pathlib import Path

import psycopg

from tests.broker import Broker
from tests.faults.chaos import Break
from tests.faults.world import SWEEPS, eventually, shop_while_breaking
from tests.processes import EmbeddedStore, Process, running_embedded, running_store


def test_nothing_is_lost_or_doubled_when_services_kafka_and_postgresql_are_killed(
    broker: Broker, tmp_path: Path
) -> None:
    with running_store(tmp_path, broker.address, **SWEEPS) as store:
        victims = {name: _process(process) for name, process in store.services.items()}
        victims["PostgreSQL"] = store.postgres.kill, store.postgres.start
        if broker.container:
            victims["Kafka"] = broker.kill, broker.start
        shop_while_breaking(store, victims)


def test_nothing_is_lost_or_doubled_when_the_embedded_store_and_its_postgresql_are_killed() -> None:
    with running_embedded(**SWEEPS) as store:
        shop_while_breaking(store, {"store": _process(store.process), "PostgreSQL": _postgres_of(store)})


def _process(process: Process) -> tuple[Break, Break]:
    def start() -> None:
        process.start()
        process.wait()

    return process.kill, start


def _postgres_of(store: EmbeddedStore) -> tuple[Break, Break]:
    def start() -> None:
        eventually("the store starts its PostgreSQL again", lambda: _answers(store), seconds=60)

    return store.kill_postgres, start


def _answers(store: EmbeddedStore) -> bool:
    try:
        return store.rows("product", "SELECT 1") == [(1,)]
    except (psycopg.OperationalError, AssertionError):
        return False
