"""From the answered command to the read model: how long the view of a cart stays behind.

A command every so often, each to a new cart; a session of its own looks into the read model again and again. What is
measured is at most one such look (a millisecond or two) too long.
"""

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.broker import running_broker
from tests.processes import running_embedded, running_store

_RATE = 300  # commands a second
_SHOPPERS = 8
_LOOK = "SELECT stream FROM read_model.cart WHERE stream = ANY(%s) AND version > 0"


def run(seconds: float, *, kafka: bool) -> dict[str, Any]:
    """Milliseconds, p50 and p99."""
    with tempfile.TemporaryDirectory() as folder:
        if not kafka:
            with running_embedded() as embedded:
                return _follow(embedded.url, embedded.database("shopping_query"), seconds)
        with running_broker() as broker, running_store(Path(folder), broker.address, LOG_LEVEL="WARNING") as store:
            commands = {"product": store.services["product"].url, "command": store.services["shopping-command"].url}
            return _follow(commands["command"], store.postgres.database("shopping-query"), seconds, commands["product"])


def _follow(url: str, database: str, seconds: float, product_url: str | None = None) -> dict[str, Any]:
    product = {"productNumber": "001", "name": "x", "price": 1, "stock": {"quantity": 1_000_000}}
    httpx.post(f"{product_url or url}/product", json=product, timeout=30, trust_env=False).raise_for_status()
    answered: dict[str, float] = {}
    delays: list[float] = []
    over = threading.Event()
    looking = threading.Thread(target=_look, args=(database, answered, delays, over))
    looking.start()
    _send(url, 3, {}, "warm")
    started = time.perf_counter()
    sent = _send(url, seconds, answered, "cart")
    rate = sent / (time.perf_counter() - started)
    ends = time.monotonic() + 30
    while answered and time.monotonic() < ends:
        time.sleep(0.05)
    over.set()
    looking.join()
    if answered:
        raise RuntimeError(f"{len(answered)} of {sent} commands never reached the read model")
    milliseconds = sorted(delay * 1000 for delay in delays)
    p99 = milliseconds[len(milliseconds) * 99 // 100]
    return {"p50": statistics.median(milliseconds), "p99": p99, "rate": rate, "commands": sent}


def _send(url: str, seconds: float, answered: dict[str, float], prefix: str) -> int:
    """Commands at a steady rate, from several customers at once."""
    counts = [0] * _SHOPPERS

    def shop(shopper: int) -> None:
        customer = f"{prefix}{shopper}"
        line = {"productNumber": "001", "quantity": 1}
        with httpx.Client(base_url=url, headers={"Customer-ID": customer}, timeout=30, trust_env=False) as client:
            began = time.perf_counter()
            while (due := began + counts[shopper] * _SHOPPERS / _RATE) < began + seconds:
                time.sleep(max(0.0, due - time.perf_counter()))
                cart = f"{counts[shopper]}"
                client.post(f"/shopping-command/add-to-cart/{cart}", json=line).raise_for_status()
                answered[f"cart/{customer}/{cart}"] = time.perf_counter()
                counts[shopper] += 1

    threads = [threading.Thread(target=shop, args=(shopper,)) for shopper in range(_SHOPPERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def _look(database: str, answered: dict[str, float], delays: list[float], over: threading.Event) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        while not over.is_set():
            waiting = list(answered)
            began = time.perf_counter()
            found = connection.execute(_LOOK, (waiting,)).fetchall() if waiting else []
            now = time.perf_counter()
            for (stream,) in found:
                delays.append(now - answered.pop(stream))
            time.sleep(max(0.0, 0.001 - (now - began)))
