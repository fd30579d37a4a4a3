"""From the answered command to the read model: how long the view of a cart stays behind.

Commands at a steady rate, each to a new cart; a session of its own looks into the read model again and again. What is
measured is at most one such look (a millisecond or two) too long.
"""

import statistics
import tempfile
import threading
import time
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.bench import load
from tests.broker import running_broker
from tests.processes import running_embedded, running_store

_RATES = (75, 150, 300)  # commands a second
_SHOPPERS = 8
_WARM_SECONDS = 3.0
_LONGEST_SECONDS = 30.0
_LOOK = "SELECT stream FROM read_model.cart WHERE stream = ANY(%s) AND version > 0"


def run(seconds: float, *, kafka: bool) -> list[dict[str, Any]]:
    """For each rate asked for: the rate that was had, and milliseconds, p50 and p99."""
    with tempfile.TemporaryDirectory() as folder:
        if not kafka:
            with running_embedded() as embedded:
                return _at_every_rate(embedded.url, embedded.url, embedded.database("shopping_query"), seconds)
        with running_broker() as broker, running_store(Path(folder), broker.address, LOG_LEVEL="WARNING") as store:
            product, command = store.services["product"].url, store.services["shopping-command"].url
            return _at_every_rate(product, command, store.postgres.database("shopping-query"), seconds)


def _at_every_rate(product_url: str, command_url: str, database: str, seconds: float) -> list[dict[str, Any]]:
    product = {"productNumber": "001", "name": "x", "price": 1, "stock": {"quantity": 1_000_000}}
    httpx.post(f"{product_url}/product", json=product, timeout=30, trust_env=False).raise_for_status()
    port = httpx.URL(command_url).port
    assert port
    load.apply(_commands(port, "warm", _RATES[-1], _WARM_SECONDS))
    return [_follow(port, database, rate, seconds) for rate in _RATES]


def _commands(port: int, prefix: str, rate: int, seconds: float) -> load.Load:
    return load.Load(
        port,
        "POST",
        "/shopping-command/add-to-cart/@i",
        {"Customer-ID": f"{prefix}@c"},
        '{"productNumber": "001", "quantity": 1}',
        connections=_SHOPPERS,
        seconds=seconds,
        every=_SHOPPERS / rate,
    )


def _follow(port: int, database: str, rate: int, seconds: float) -> dict[str, Any]:
    seen: list[list[float]] = [[] for _ in range(_SHOPPERS)]
    over = threading.Event()
    looking = threading.Thread(target=_look, args=(database, f"r{rate}-", seen, over))
    looking.start()
    measured = load.apply(_commands(port, f"r{rate}-", rate, seconds))
    ends = time.monotonic() + _LONGEST_SECONDS
    while [len(each) for each in seen] != [len(each) for each in measured.answered] and time.monotonic() < ends:
        time.sleep(0.05)
    over.set()
    looking.join()
    if missing := measured.requests - sum(map(len, seen)):
        raise RuntimeError(f"{missing} of {measured.requests} commands never reached the read model")
    pairs = zip(chain(*seen), chain(*measured.answered), strict=True)
    milliseconds = sorted((at - answered) * 1000 for at, answered in pairs)
    p99 = milliseconds[len(milliseconds) * 99 // 100]
    return {"asked": rate, "rate": measured.rate, "p50": statistics.median(milliseconds), "p99": p99}


def _look(database: str, prefix: str, seen: list[list[float]], over: threading.Event) -> None:
    """Notes when each shopper's next cart is there; negative delays are possible, as an answer takes time too."""
    with psycopg.connect(database, autocommit=True) as connection:
        while not over.is_set():
            began = time.perf_counter()
            awaited = {f"cart/{prefix}{shopper}/{len(carts)}": carts for shopper, carts in enumerate(seen)}
            found = connection.execute(_LOOK, (list(awaited),)).fetchall()
            now = time.perf_counter()
            for (stream,) in found:
                awaited[stream].append(now)
            time.sleep(max(0.0, 0.001 - (now - began)))
