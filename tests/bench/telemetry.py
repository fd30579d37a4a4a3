"""`make bench-telemetry`: what tracing and logging cost, side by side in one run; writes results-telemetry.md.

Embedded stores, the same but for their telemetry, are asked in short turns, round after round, so that what else the
machine does hits all alike. CPU is of the store's own process, without its PostgreSQL, until the work in the
background is done.
"""

import argparse
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.bench import load, machine
from tests.ports import free_port
from tests.processes import Process, clean_environment
from tests.telemetry.pipeline import Pipeline, running_pipeline

RESULTS = Path(__file__).with_name("results-telemetry.md")
CONNECTIONS = 16
STOCK, ADD = "read stock", "add to cart"
OFF = "off"
HEALTH = ("healthy", "dead", "slow: answers take 10 s")
WELL = "all well"
# Which part of the way is away, and whether it hangs (answers nothing, and closes nothing) or is dead.
AWAY = {
    WELL: None,
    "Kafka dead": ("kafka", False),
    "Kafka hangs": ("kafka", True),
    "Zipkin dead": ("zipkin", False),
    "Elasticsearch hangs": ("elasticsearch", True),
    "sidecar dead": ("sidecar", False),
    "sidecar hangs": ("sidecar", True),
}
_HEAD = """# What telemetry costs

Written by `make bench-telemetry`. Embedded stores (five services and their PostgreSQL), the same but for their
telemetry, run side by side and are asked over {connections} connections in short turns, in random order. Numbers are
medians of {rounds} rounds of {turns} turns, with new stores after each third round, and `against the first` is the
median of what a round's two rates are to each other. Every store writes a line a request to stdout. `read stock` is
the cheapest request there is; `add to cart` is one with a call to another service, an event, its relay and its
consumer.
"""
# Not measured by this program: spans and encoders alone, in a loop.
_PROFILE = """## Where it goes

By itself, in a loop on an idle machine, a span of six attributes takes 4 to 5 µs to make and end
(`webstore_chassis.spans`; one of OpenTelemetry's SDK 24 to 27), and 8 to 9 to write in OTLP's form
(`webstore_chassis.otlp`; the exporter's own encoder 40 to 45). While both cores are busy, everything takes two to three
times as long. Adding to a cart is six spans with five links: five spans of its own and a share of the statements',
which are shared by the requests that they serve, with a link to each. A trace that is not kept has ids, for the log
and for those who are called, and nothing else is made of it.
"""
_LINES, _BURST = 40, 20_000
# Of two processes that do the same, one may be a tenth slower for as long as it runs: new ones after so many rounds.
_ROUNDS_OF_A_STORE = 3
# What else a machine does changes within a second by a fifth: turns are shorter.
_TURNS = 10
TARGETS = {"traces at 1 %, log file": 0.10, "traces at 100 %, log file": 0.30}


@dataclass(frozen=True)
class Sample:
    """One kind of request in one round: requests a second, milliseconds, CPU milliseconds a request."""

    rate: float
    p99: float
    cpu_ms: float


class Store:
    """An embedded store with some telemetry."""

    def __init__(self, data: Path, environment: Mapping[str, str]) -> None:
        port = free_port()
        command = [str(Path(sys.executable).parent / "webstore"), "run", "--data", str(data), "--port", str(port)]
        # A long deadline, as a busy machine is no reason for a breaker to open.
        always = {"WEBSTORE_LOG_FORMAT": "json", "WEBSTORE_LOG_LEVEL": "INFO", "WEBSTORE_LOG_FILE": "",
                  "WEBSTORE_HTTP_DEADLINE_SECONDS": "60"}  # fmt: skip
        all_of_it = {**clean_environment(), **always, **environment}
        self.process = Process(command, all_of_it, port, data.with_suffix(".log"))
        self.port = port
        self._turn = itertools.count()

    def fill(self) -> None:
        """A product that can be bought for ever."""
        body = {"productNumber": "tea", "name": "tea", "price": 1, "stock": {"quantity": 1_000_000}}
        httpx.post(f"{self.process.url}/product", json=body, trust_env=False, timeout=30).raise_for_status()

    def asked(self, request: str, number: int, seconds: float) -> load.Load:
        """What a turn of a round asks."""
        if request == STOCK:
            return load.Load(self.port, "GET", "/product/tea", seconds=seconds)
        # Carts of its own, with few lines: a cart's length is not what is measured.
        cart = f"/shopping-command/add-to-cart/r{number}-{next(self._turn)}-@t"
        line = '{"productNumber": "tea", "quantity": 1}'
        return load.Load(self.port, "POST", cart, {"Customer-ID": "c@c"}, line, seconds=seconds)

    def cpu(self) -> float:
        """Seconds, until now."""
        return machine.cpu_seconds([self.process.pid])

    def memory(self) -> float:
        """MiB of the Python process alone."""
        return machine.memory_mib([self.process.pid]) - machine.memory_mib(self._children())

    def _children(self) -> list[int]:
        return [child.pid for child in machine.tree([self.process.pid])[1:]]


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="the median of so many [%(default)s]")
    parser.add_argument("--seconds", type=float, default=1.5, help="for each measurement of a round [%(default)s]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _sinks(Path(folder)) as urls:
        every = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1"}
        few = {**every, "OTEL_TRACES_SAMPLER_ARG": "0.01"}
        here = {"OTEL_EXPORTER_OTLP_ENDPOINT": urls["healthy"]}

        def file(name: str) -> dict[str, str]:
            return {"WEBSTORE_LOG_FILE": f"{folder}/{name}.jsonl"}

        cost = {
            OFF: {},
            "traces at 1 %": here | few,
            "traces at 100 %": here | every,
            "traces at 1 %, log file": here | few | file("few"),
            "traces at 100 %, log file": here | every | file("every"),
        }
        health = {
            name: {"OTEL_EXPORTER_OTLP_ENDPOINT": urls[name], **every, **file(f"health-{number}")}
            for number, name in enumerate(HEALTH)
        }
        first = _compare(Path(folder) / "cost", cost, options.rounds, options.seconds)
        second = _compare(Path(folder) / "health", health, options.rounds, options.seconds)
    RESULTS.write_text(
        "\n".join([_report(first, second, options.rounds), *_whole_way(options.rounds // 3, options.seconds)])
    )
    print(RESULTS.read_text())


@contextmanager
def _sinks(folder: Path) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        urls = {"dead": f"http://127.0.0.1:{free_port()}"}
        for name, seconds in (("healthy", "0"), ("slow: answers take 10 s", "10")):
            port = free_port()
            command = [sys.executable, "-m", "tests.bench.sink", str(port), seconds]
            sink = Process(command, clean_environment(), port, folder / f"sink-{seconds}.log")
            sink.start()
            stack.callback(sink.kill)
            sink.wait()
            urls[name] = sink.url
        yield urls


@contextmanager
def _running(data: Path, environment: Mapping[str, str]) -> Iterator[Store]:
    store = Store(data, environment)
    store.process.start()
    try:
        store.process.wait()
        store.fill()
        _round([("warm up", store)], 0, 0.5)
        yield store
    finally:
        store.process.stop()


Found = dict[str, tuple[dict[str, list[Sample]], float]]


def _round(stores: Sequence[tuple[str, Store]], number: int, seconds: float) -> dict[str, dict[str, Sample]]:
    """Samples by store and request: all stores are asked in short turns, so that each has the same neighbours."""
    samples: dict[str, dict[str, Sample]] = {name: {} for name, _ in stores}
    for request in (STOCK, ADD):
        before = {name: store.cpu() for name, store in stores}
        turns: dict[str, list[load.Measured]] = {name: [] for name, _ in stores}
        for _ in range(_TURNS):
            for name, store in random.sample(stores, len(stores)):
                turns[name].append(load.turn(store.asked(request, number, seconds / _TURNS)))
        time.sleep(0.3)  # what is queued to be written or sent is a part of the cost
        for name, store in stores:
            samples[name][request] = _sample(turns[name], store.cpu() - before[name])
    return samples


def _sample(turns: Sequence[load.Measured], cpu_seconds: float) -> Sample:
    requests = sum(turn.requests for turn in turns)
    latencies = sorted(latency for turn in turns for latency in turn.latencies)
    rate = requests / sum(turn.seconds for turn in turns)
    return Sample(rate, load.percentile(latencies, 99), cpu_seconds * 1000 / requests)


def _compare(folder: Path, variants: Mapping[str, Mapping[str, str]], rounds: int, seconds: float) -> Found:
    folder.mkdir()
    kept: dict[str, dict[str, list[Sample]]] = {name: {} for name in variants}
    memory: dict[str, list[float]] = {name: [] for name in variants}
    for first in range(1, rounds + 1, _ROUNDS_OF_A_STORE):
        with ExitStack() as stack:
            stores = [
                (name, stack.enter_context(_running(folder / f"{first}-{number}", environment)))
                for number, (name, environment) in enumerate(variants.items())
            ]
            for number in range(first, min(first + _ROUNDS_OF_A_STORE, rounds + 1)):
                _keep(kept, _round(stores, number, seconds))
                print(f"round {number} of {rounds}", flush=True)
            for name, store in stores:
                memory[name].append(store.memory())
    return {name: (kept[name], statistics.median(memory[name])) for name in variants}


def _keep(kept: dict[str, dict[str, list[Sample]]], samples: Mapping[str, Mapping[str, Sample]]) -> None:
    for name, of_requests in samples.items():
        for request, sample in of_requests.items():
            kept[name].setdefault(request, []).append(sample)


def _whole_way(rounds: int, seconds: float) -> Iterator[str]:
    """Collector, Kafka, Zipkin, rsyslog and Elasticsearch in containers; needs Docker and images."""
    try:
        with tempfile.TemporaryDirectory() as folder, running_pipeline(Path(folder)) as pipeline:
            yield from _way_of_logs(pipeline)
            yield "## With the whole way of traces and logs, and parts of it away; traces at 100 %, log file\n"
            yield "One store and one sidecar, and each part away in turn, round after round; then it comes back, and"
            yield "what waited for it arrives, before the next. What is away also leaves the two cores to the others.\n"
            yield from _table(_away(pipeline, Path(folder), rounds, seconds), WELL)
            yield ""
    except pytest.skip.Exception as reason:
        yield f"The whole way was left out, as it {reason}.\n"


def _away(pipeline: Pipeline, folder: Path, rounds: int, seconds: float) -> Found:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": pipeline.otlp, "WEBSTORE_LOG_FILE": str(pipeline.log)}
    kept: dict[str, dict[str, list[Sample]]] = {name: {} for name in AWAY}
    memory = dict.fromkeys(AWAY, 0.0)
    with _running(folder / "away", environment) as store:
        for number in range(1, rounds + 1):
            for name, away in AWAY.items():
                with pipeline.without(away[0], hangs=away[1]) if away else nullcontext():
                    _keep(kept, _round([(name, store)], number, seconds))
                    memory[name] = store.memory()
                pipeline.arrival("all that waited has arrived")
            print(f"round {number} of {rounds} with parts away", flush=True)
    return {name: (kept[name], memory[name]) for name in AWAY}


def _way_of_logs(pipeline: Pipeline) -> Iterator[str]:
    pipeline.arrival("warm up")
    idle = pipeline.collector_mib()
    delays = sorted(pipeline.arrival(f"line {number}") for number in range(_LINES))
    pipeline.write(*(b'{"service": "bench", "message": "%06d"}' % number for number in range(_BURST)))
    burst = pipeline.arrival("after the burst")
    loaded = pipeline.collector_mib()
    yield "## From a service's log file to Elasticsearch\n"
    yield "Collector, Kafka, rsyslog and Elasticsearch in containers as the charts run them; a look every 50 ms.\n"
    yield (
        f"- a line alone, {_LINES} times: median {statistics.median(delays):.2f} s, longest {delays[-1]:.2f} s; "
        f"target 5 s: {'met' if delays[-1] <= 5 else 'MISSED'}"
    )
    yield f"- a line behind {_BURST:,} others: {burst:.2f} s"
    yield f"- memory of the sidecar: {idle:.0f} MiB idle, {loaded:.0f} MiB after those lines, of 128 MiB at the most\n"


def _report(cost: Found, health: Found, rounds: int) -> str:
    met = []
    for name, target in TARGETS.items():
        for request in cost[OFF][0]:
            lost = -_against(cost[name][0][request], cost[OFF][0][request])
            is_met = "met" if lost <= target else "MISSED"
            met.append(f"- {name}, {request}: {lost:.0%} of the throughput, target at most {target:.0%}: {is_met}")
    return "\n".join(
        [
            _HEAD.format(connections=CONNECTIONS, rounds=rounds, turns=_TURNS),
            *("## Off, at 1 % and at 100 %\n", *_table(cost, OFF), "", *met, ""),
            "## With a receiver of traces that is healthy, dead or slow; traces at 100 %, log file\n",
            *(*_table(health, HEALTH[0]), ""),
            _PROFILE,
            f"Measured: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. On: {machine.description()}.\n",
        ]
    )


def _table(found: Found, base: str) -> Iterator[str]:
    yield "| telemetry | request | a second | against the first | p99 ms | CPU ms a request | memory MiB |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for request, first in found[base][0].items():
        for name, (samples, memory) in found.items():
            rate, p99, cpu = (_median(samples[request], field) for field in ("rate", "p99", "cpu_ms"))
            against = _against(samples[request], first)
            yield f"| {name} | {request} | {rate:,.0f} | {against:+.0%} | {p99:.1f} | {cpu:.2f} | {memory:.0f} |"


def _against(samples: list[Sample], first: list[Sample]) -> float:
    """How much more a second, as a share of the first."""
    return statistics.median(sample.rate / its.rate for sample, its in zip(samples, first, strict=True)) - 1


def _median(samples: list[Sample], field: str) -> float:
    return statistics.median(getattr(sample, field) for sample in samples)


if __name__ == "__main__":
    main()
