"""The table of results, and whether each target is met."""

from collections.abc import Iterator, Mapping
from typing import Any

# CPU milliseconds a request of the original, over all its processes, through its gateway with 16 connections.
_ORIGINAL = {
    "read one product's stock": 0.63,
    "list 100 products": 1.28,
    "create a product": 0.87,
    "add to cart": 8.0,
    "view carts": 0.88,
    "checkout": 8.4,
}
_HEAD = """# What the services can do

Written by `make bench`, which is `python -m tests.bench` (`… requests` and so on measures one part).
16 connections, after warm-up, medians of rounds in which everything is measured in turn. The load generator is
`tests/bench/load.py`, a process of its own; its own CPU is in the last column. CPU is of the whole process tree,
PostgreSQL and the work in the background (relay, projection) included, until that work is done.
"""
# Not measured by this program: `py-spy record --pid … --rate 200` beside one kind of request, idle threads left out.
_PROFILE = """## Why what is missed is missed

- **CPU a request** differs by a fifth between rounds of one run for the same code (stock 0.47 to 0.71 ms), and with the
  machine: look at the ceiling's row beside it. Of the store's Python, FastAPI's and Starlette's layers with what they
  call take 67 % for reading stock and for creating a product (handing the answer to the socket, 13 and 8 %, is a part
  of it), the statement, which some ten requests share, 15 and 16 %, uvicorn's reading of the request 7 %; PostgreSQL
  comes besides with 0.05 and 0.13 ms. A checkout is three requests and two events: serving it takes 47 %, of which
  calls between services are 34, statements 24, consumers 13 and relays 8 %.
- **Add to cart against pgbench**: the ratio of FastAPI alone is above; no Python HTTP service reaches it.
- **From the command to the read model**: two commits, of the read model and before it of the append, wait for the disk,
  whose sync takes 2 ms here, every tenth 6 ms and every hundredth 16 ms (`fdatasync` of a page); from 150 commands a
  second on, both cores are busy, and what is measured is the queue. Over Kafka, five processes, broker and PostgreSQL
  share the two cores, and do not get to 150 a second.
"""


def write(kept: Mapping[str, Any]) -> str:
    """The results as Markdown; parts that were not measured are left out."""
    sections = [_HEAD]
    for names, section in (
        (("requests",), _requests),
        (("requests", "streams"), _ratios),
        (("following", "following-kafka"), _following),
        (("rebuild-small", "rebuild-large"), _rebuild),
        (("life",), _life),
    ):
        if any(name in kept for name in names):
            figures = {name: kept[name]["figures"] for name in names if name in kept}
            sections.append("\n".join(section(figures)) + "\n")
    sections.append(_PROFILE)
    measured = "; ".join(f"{name} {part['at']}" for name, part in kept.items())
    machines = sorted({part["on"] for part in kept.values()})
    sections.append(f"Measured: {measured}.\nOn: {' and '.join(machines)}.\n")
    return "\n".join(sections)


def _requests(figures: Mapping[str, Any]) -> Iterator[str]:
    yield "## Requests to the embedded store (`webstore run`)\n"
    yield "| request | a second | p50 ms | p99 ms | CPU ms | original's CPU ms | less by | generator's CPU |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, original in _ORIGINAL.items():
        found = figures["requests"][name]
        cpu = found["cpu_ms"]
        yield (
            f"| {name} | {found['rate']:,.0f} | {found['p50']:.1f} | {found['p99']:.1f} | {cpu:.2f} | {original:.2f} "
            f"| {original / cpu:.1f} × | {found['generator_cpu']:.0%} |"
        )
    ceiling = figures["requests"]["ceiling: FastAPI without a database"]
    yield (
        f"| ceiling: FastAPI without a database | {ceiling['rate']:,.0f} | {ceiling['p50']:.1f} | {ceiling['p99']:.1f} "
        f"| {ceiling['cpu_ms']:.2f} | | | {ceiling['generator_cpu']:.0%} |"
    )


def _ratios(figures: Mapping[str, Any]) -> Iterator[str]:
    yield "## Against the ceilings\n"
    yield "| what | a second | ceiling | a second | ratio | target | |"
    yield "| --- | ---: | --- | ---: | ---: | ---: | --- |"
    requests = figures.get("requests")
    if requests:
        pairs = [
            ("read one product's stock", "ceiling: FastAPI without a database", 0.35),
            ("add to cart", "pgbench: add to cart's statements", 0.5),
        ]
        for name, ceiling, target in pairs:
            yield _ratio(name, requests[name]["rate"], ceiling, requests[ceiling]["rate"], target)
    if streams := figures.get("streams"):
        pgbench = streams["pgbench: append"]["rate"]
        yield _ratio("journal: append", streams["journal: append"]["rate"], "pgbench: append", pgbench, 0.5)
        for name, what in (
            ("relay", "relay alone, to a transport that takes all"),
            ("replay", "journal read in order"),
        ):
            yield f"| {what} | {streams[name]['rate']:,.0f} | | | | | |"
    if requests:
        # Adding to a cart is two requests: to shopping-command, and from there to product.
        most = requests["ceiling: FastAPI without a database"]["rate"] / 2
        share = most / requests["pgbench: add to cart's statements"]["rate"]
        yield (
            "\nAdding to a cart is two HTTP requests, one to shopping-command and one from there to product. FastAPI "
            f"alone would answer {most:,.0f} such pairs a second: {share:.2f} of what `pgbench` does of their "
            "statements. The row `journal: append` is the append alone."
        )


def _ratio(name: str, rate: float, ceiling: str, most: float, target: float) -> str:
    ratio = rate / most
    return f"| {name} | {rate:,.0f} | {ceiling} | {most:,.0f} | {ratio:.2f} | {target} | {_verdict(ratio >= target)} |"


def _following(figures: Mapping[str, Any]) -> Iterator[str]:
    yield "## From the answered command to the read model\n"
    yield "| over | commands a second, asked | had | p50 ms | p99 ms | target p99 | |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | --- |"
    for name, over, target in (("following", "the process itself", 50), ("following-kafka", "Kafka", 150)):
        for found in figures.get(name, []):
            yield (
                f"| {over} | {found['asked']} | {found['rate']:.0f} | {found['p50']:.1f} | {found['p99']:.1f} "
                f"| {target} | {_verdict(found['p99'] < target and found['rate'] > 0.95 * found['asked'])} |"
            )


def _rebuild(figures: Mapping[str, Any]) -> Iterator[str]:
    yield "## Rebuild of the read model (the whole command, start included)\n"
    yield "| events | seconds | events a second | most memory of the rebuild, MiB | of shopping-command, MiB |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for found in figures.values():
        memory = found["memory"]
        yield (
            f"| {found['events']:,} | {found['seconds']:.1f} | {found['rate']:,.0f} | {memory['rebuild']:.0f} "
            f"| {memory['shopping-command']:.0f} |"
        )


def _life(figures: Mapping[str, Any]) -> Iterator[str]:
    found = figures["life"]
    yield "## Start and memory of the embedded store, PostgreSQL included\n"
    yield "| what | | target | |"
    yield "| --- | ---: | ---: | --- |"
    seconds = found["start"]
    yield f"| from the command to ready, with data there | {seconds:.1f} s | 5 s | {_verdict(seconds < 5)} |"
    for name, what in (("idle", "memory idle"), ("loaded", "memory under load")):
        yield f"| {what} | {found[name]:.0f} MiB | 400 MiB | {_verdict(found[name] < 400)} |"


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"
