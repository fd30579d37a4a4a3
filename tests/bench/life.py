"""The embedded store's start and its memory, and the start of one service."""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import load, machine
from tests.processes import EmbeddedStore, Mailbox

_CONNECTIONS = 16


def run(rounds: int) -> dict[str, Any]:
    """Seconds from the command to ready, with data that is there; MiB idle and under load, PostgreSQL included."""
    starts: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Mailbox() as mailbox:
        store = EmbeddedStore(Path(folder) / "data", mailbox, {})
        for number in range(rounds + 1):
            began = time.perf_counter()
            store.process.start()
            store.process.wait()
            if number:  # the first one makes the data
                starts.append(time.perf_counter() - began)
            if number < rounds:
                assert store.process.stop() == 0
        try:
            return {"start": statistics.median(starts), **_memory(store)}
        finally:
            store.process.stop()


def _memory(store: EmbeddedStore) -> dict[str, float]:
    idle = machine.memory_mib(store.pids())
    port = int(store.url.rsplit(":", 1)[1])
    body = '{"productNumber": "m@c-@i", "name": "x", "price": 456.5, "stock": {"quantity": 70}}'
    load.apply(load.Load(port, "POST", "/product", body=body, connections=_CONNECTIONS, count=20, expect=201))
    line = '{"productNumber": "m0-1", "quantity": 1}'
    add = "/shopping-command/add-to-cart/@t"
    most = 0.0
    for _ in range(3):
        load.apply(load.Load(port, "POST", add, headers={"Customer-ID": "c@c"}, body=line, connections=_CONNECTIONS))
        load.apply(load.Load(port, "GET", "/product", connections=_CONNECTIONS))
        most = max(most, machine.memory_mib(store.pids()))
    return {"idle": idle, "loaded": most}


if __name__ == "__main__":
    print(run(int(sys.argv[1])))
