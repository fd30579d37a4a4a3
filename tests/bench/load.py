"""The load generator: a process of its own that keeps so many HTTP connections busy, and tells what it measured.

`python -m tests.bench.load` reads a `Load` as JSON from stdin and writes a `Measured` as JSON to stdout. It is written
on asyncio's protocols with httptools and uvloop, so that it takes a small part of what a service takes for a request;
`cpu_seconds` says how much.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import httptools
import uvloop


@dataclass(frozen=True)
class Load:
    """What to ask. In `path`, `headers` and `body`, `@c` is the connection's number, `@i` counts its requests, and `@t`
    counts tens of them.

    Args:
        seconds: how long to ask.
        count: how often each connection asks at the most.
        first: where `@i` begins.
        every: a connection's pause between the beginnings of its requests, in seconds; 0: as fast as answers come.
        expect: the status that every answer must have.
    """

    port: int
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    connections: int = 16
    seconds: float = 3.0
    count: int = 1_000_000_000
    first: int = 0
    every: float = 0.0
    expect: int = 200


@dataclass(frozen=True)
class Measured:
    """What came back.

    Args:
        seconds: from the first request to the last answer.
        p50, p99: milliseconds from a request to its answer.
        asked: how far `@i` came, on the connection that came farthest.
        wrong: answers with another status than was expected.
        latencies: all of them, in milliseconds, ascending.
        answered: when (CLOCK_MONOTONIC, seconds), for each connection its requests in turn; only with `every`.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    cpu_seconds: float
    asked: int
    wrong: int
    latencies: list[float]
    answered: list[list[float]]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def apply(load: Load) -> Measured:
    """Runs the generator in a process of its own.

    Raises:
        RuntimeError: an answer had another status than was expected.
    """
    with tempfile.TemporaryFile("w+") as said:  # a pipe has been seen to lose what is longer than it holds
        command = [sys.executable, "-m", "tests.bench.load"]
        subprocess.run(command, input=json.dumps(asdict(load)), text=True, check=True, stdout=said)
        said.seek(0)
        return _right(load, Measured(**json.load(said)))


def turn(load: Load) -> Measured:
    """Runs the generator in this process: to start one takes longer than a short turn.

    Raises:
        RuntimeError: an answer had another status than was expected.
    """
    return _right(load, uvloop.run(_run(load)))


def percentile(latencies: Sequence[float], percent: int) -> float:
    """Of latencies in ascending order."""
    return latencies[len(latencies) * percent // 100]


def _right(load: Load, measured: Measured) -> Measured:
    if measured.wrong:
        raise RuntimeError(f"{load.method} {load.path}: {measured.wrong} of {measured.requests} answers were wrong")
    return measured


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load, number: int, ends: float) -> None:
        self.latencies: list[float] = []
        self.answered: list[float] = []
        self.wrong = 0
        self.index = load.first
        self.done = asyncio.get_running_loop().create_future()
        self._load, self._ends, self._number = load, ends, number
        self._parser = httptools.HttpResponseParser(self)
        head = [f"{load.method} {load.path} HTTP/1.1", "Host: bench", *(f"{k}: {v}" for k, v in load.headers.items())]
        if load.body:
            head.append("Content-Type: application/json")
        self._head = "\r\n".join(head).replace("@c", str(number))
        self._body = load.body.replace("@c", str(number))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._began = time.perf_counter()
        asyncio.get_running_loop().call_later(self._load.every * self._number / self._load.connections, self._send)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the service closed the connection"))

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self.latencies.append(now - self._sent)
        self.answered.append(now)
        self.wrong += self._parser.get_status_code() != self._load.expect
        self.index += 1
        if now < self._ends and self.index - self._load.first < self._load.count:
            if self._load.every:
                offset = self._number / self._load.connections + self.index - self._load.first
                due = self._began + offset * self._load.every
                asyncio.get_running_loop().call_later(max(0.0, due - now), self._send)
            else:
                self._send()
        else:
            self.done.set_result(None)
            self._transport.close()

    def _send(self) -> None:
        index, tens = str(self.index), str(self.index // 10)
        body = self._body.replace("@i", index)
        length = f"\r\nContent-Length: {len(body)}" if body else ""
        self._sent = time.perf_counter()
        self._transport.write(f"{self._head.replace('@i', index).replace('@t', tens)}{length}\r\n\r\n{body}".encode())


async def _run(load: Load) -> Measured:
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    connections = [_Connection(load, number, started + load.seconds) for number in range(load.connections)]
    for connection in connections:
        await loop.create_connection(lambda made=connection: made, "127.0.0.1", load.port)  # type: ignore[misc]
    await asyncio.gather(*(connection.done for connection in connections))
    seconds = time.perf_counter() - started
    latencies = sorted(latency * 1000 for connection in connections for latency in connection.latencies)
    return Measured(
        requests=len(latencies),
        seconds=seconds,
        p50=percentile(latencies, 50),
        p99=percentile(latencies, 99),
        cpu_seconds=time.process_time(),
        asked=max(connection.index for connection in connections),
        wrong=sum(connection.wrong for connection in connections),
        latencies=latencies,
        answered=[connection.answered for connection in connections if load.every],
    )


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_run(Load(**json.load(sys.stdin)))))))
