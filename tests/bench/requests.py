"""Requests to the embedded store: how many a second, how long each takes, and what it costs.

Side by side in rounds: every kind of request, the ceiling of the stack, and pgbench with the same statements.
"""

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.bench import load, machine, pgbench
from tests.ports import free_port
from tests.processes import EmbeddedStore, Process, running_embedded

CONNECTIONS = 16
_CHECKOUTS = 50  # a connection and round, each of a cart that was filled before
_LINE = '{"productNumber": "n000", "quantity": 1}'


@dataclass(frozen=True)
class Sample:
    """One kind of request in one round."""

    rate: float
    p50: float
    p99: float
    cpu_ms: float
    generator_cpu: float


class _Bench:
    def __init__(self, store: EmbeddedStore, ceiling: Process, seconds: float) -> None:
        self.store, self.ceiling, self.seconds = store, ceiling, seconds
        self._round = 0
        self._client = httpx.Client(base_url=store.url, timeout=30, trust_env=False)

    def fill(self) -> None:
        """A hundred products, and customers with three carts of three lines each."""
        for number in range(100):
            self._create(f"n{number:03}")
        for customer in range(CONNECTIONS):
            for cart in range(3):
                for number in range(3):
                    path = f"/shopping-command/add-to-cart/{cart}"
                    line = {"productNumber": f"n{number:03}", "quantity": 1}
                    self._client.post(path, json=line, headers={"Customer-ID": f"view{customer}"}).raise_for_status()

    def round(self) -> dict[str, Sample | float]:
        """One of each."""
        self._round += 1
        customer = {"Customer-ID": "c@c"}
        stock = ("GET", "/product/n000")
        results: dict[str, Sample | float] = {
            "read one product's stock": self._measure(*stock),
            "ceiling: FastAPI without a database": self._measure(*stock, process=self.ceiling),
            "list 100 products": self._measure("GET", "/product"),
            "create a product": self._measure("POST", "/product", body=self._product(), expect=201),
        }
        with psycopg.connect(self.store.database("product")) as connection:
            connection.execute("DELETE FROM product WHERE product_number LIKE 'b%'")
        add = f"/shopping-command/add-to-cart/r{self._round}-@t"
        results["add to cart"] = self._measure("POST", add, headers=customer, body=_LINE)
        results["view carts"] = self._measure("GET", "/shopping-query/carts", headers={"Customer-ID": "view@c"})
        results["checkout"] = self._checkouts()
        for name, script in (
            ("pgbench: append", pgbench.append_script()),
            ("pgbench: add to cart's statements", pgbench.add_to_cart_script()),
        ):
            database = self.store.database(pgbench.DATABASE)
            results[name] = pgbench.rate(database, script, connections=CONNECTIONS, seconds=self.seconds)
        return results

    def _checkouts(self) -> Sample:
        cart, headers = f"k{self._round}-@i", {"Customer-ID": "k@c"}
        path = f"/shopping-command/add-to-cart/{cart}"
        load.apply(self._load("POST", path, headers=headers, body=_LINE, count=_CHECKOUTS, seconds=300))
        self._settle()
        path = f"/shopping-query/{cart}/checkout"
        return self._measure("POST", path, headers=headers, count=_CHECKOUTS, seconds=300)

    def _measure(self, method: str, path: str, *, process: Process | None = None, **options: Any) -> Sample:
        process = process or self.store.process
        pids = self.store.pids() if process is self.store.process else [process.pid]
        if "count" not in options:
            warm = self._load(method, path, process=process, **{**options, "seconds": 0.5, "first": 1_000_000})
            load.apply(warm)
        before = machine.cpu_seconds(pids)
        measured = load.apply(self._load(method, path, process=process, **options))
        self._settle()
        cpu = machine.cpu_seconds(pids) - before
        return Sample(
            rate=measured.rate,
            p50=measured.p50,
            p99=measured.p99,
            cpu_ms=cpu * 1000 / measured.requests,
            generator_cpu=measured.cpu_seconds / measured.seconds,
        )

    def _load(self, method: str, path: str, *, process: Process | None = None, **options: Any) -> load.Load:
        port = httpx.URL((process or self.store.process).url).port
        assert port
        return load.Load(port, method, path, connections=CONNECTIONS, **{"seconds": self.seconds, **options})

    def _settle(self) -> None:
        """Waits until what the requests have caused is done, so that its cost is theirs."""
        backlog = (
            "SELECT count(*) FROM journal, relay WHERE (journal.xid, journal.position) > (relay.xid, relay.position)"
        )
        while any(self.store.rows(name, backlog) != [(0,)] for name in ("shopping-command", "shopping-query", "order")):
            time.sleep(0.05)

    def _product(self) -> str:
        number = f"b{self._round}-@c-@i"
        return f'{{"productNumber": "{number}", "name": "x", "price": 456.5, "stock": {{"quantity": 70}}}}'

    def _create(self, number: str) -> None:
        body = {"productNumber": number, "name": "x", "description": "y", "price": 1, "stock": {"quantity": 1_000_000}}
        self._client.post("/product", json=body).raise_for_status()


def run(rounds: int, seconds: float) -> dict[str, Any]:
    """Medians of the rounds: name → figures. pgbench has a rate only."""
    samples: dict[str, list[Sample | float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, running_embedded() as store:
        port = free_port()
        command = [sys.executable, "-m", "tests.bench.ceiling", str(port)]
        ceiling = Process(command, {"PATH": ""}, port, Path(folder) / "ceiling.log")
        ceiling.start()
        try:
            ceiling.wait()
            pgbench.prepare(store.database())
            pgbench.create_tables(store.database(pgbench.DATABASE))
            bench = _Bench(store, ceiling, seconds)
            bench.fill()
            for number in range(1, rounds + 1):
                for name, sample in bench.round().items():
                    samples[name].append(sample)
                print(f"requests: round {number} of {rounds}", flush=True)
        finally:
            ceiling.stop()
    return {name: _median(found) for name, found in samples.items()}


def _median(found: list[Any]) -> dict[str, float]:
    if isinstance(found[0], float):
        return {"rate": statistics.median(found)}
    fields: list[tuple[str, Callable[[Sample], float]]] = [
        (name, lambda sample, name=name: getattr(sample, name)) for name in Sample.__dataclass_fields__
    ]
    return {name: statistics.median(map(read, found)) for name, read in fields}
