"""What the operator costs: `python -m tests.bench.operator [NUMBER-OF-STORES…]` writes tests/bench/results-operator.md.

Against a real API server without nodes (WEBSTORE_TEST_APISERVER), with the rights of the operator's chart. What pods
and their controllers take is not the operator's: they are played by the tests' kubelet and by
kube-controller-manager, which makes 20 requests a second.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from tests.bench.machine import cpu_seconds, description, memory_mib
from tests.operator.kube import Kube, Kubelet, eventually, make_room, running
from tests.operator.process import Operator, grant, operating
from tests.operator.stores import Store

HERE = Path(__file__).parent
IDLE_SECONDS = 30
REPAIRS = 20
MINUTES = 25 * 60


@dataclass
class Row:
    """What so many stores cost."""

    stores: int
    columns: dict[str, str] = field(default_factory=dict)


class Bench:
    """An operator and its stores."""

    def __init__(self, kube: Kube, operator: Operator, namespace: str, number: int) -> None:
        self.kube, self.operator, self.namespace = kube, operator, namespace
        self.stores = [Store(kube, namespace, f"s{n}") for n in range(number)]
        self.row = Row(number)

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"http://127.0.0.1:{self.operator.port}/metrics")).text
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name
        )

    async def all(self, act: Callable[[Store], Awaitable[object]]) -> None:
        """Does something to all stores at once."""
        await asyncio.gather(*(act(store) for store in self.stores))

    @asynccontextmanager
    async def costs(self, what: str) -> AsyncIterator[None]:
        """Notes time and CPU of the block, helm's included, and the memory at its end."""
        cpu, began = cpu_seconds([self.operator.process.pid]), time.monotonic()
        yield
        seconds = time.monotonic() - began
        used = cpu_seconds([self.operator.process.pid]) - cpu
        self.row.columns[f"{what}: s"] = f"{seconds:.1f}"
        self.row.columns[f"{what}: CPU s"] = f"{used:.1f}"
        self.row.columns[f"{what}: MiB"] = f"{memory_mib([self.operator.process.pid]):.0f}"
        print(
            f"  {what}: {seconds:.1f} s, {used:.1f} s CPU, {memory_mib([self.operator.process.pid]):.0f} MiB",
            flush=True,
        )

    async def ready(self, generation: int) -> bool:
        """Whether all are Ready in that generation."""
        found = await self.kube.list("webstores", self.namespace)
        return len(found) == len(self.stores) and all(
            any(
                c["type"] == "Ready" and c["status"] == "True" and c["observedGeneration"] == generation
                for c in body.get("status", {}).get("conditions", [])
            )
            for body in found
        )

    async def applied(self, number: float) -> bool:
        """Whether so many objects have been applied since the start."""
        return await self.metric("webstore_operator_applied_total") >= number

    async def measure(self) -> Row:
        """All of it, one after the other."""
        async with self.costs("install, objects applied"):
            await self.all(lambda store: store.apply())
            # A store whose systems are all elsewhere is rolled out in one stage.
            await eventually("all report", self._all_report, within=MINUTES, every=0.5)
        objects = await self.metric("webstore_operator_applied_total") / len(self.stores)
        self.row.columns["objects a store"] = f"{objects:.0f}"
        await eventually("all are ready", lambda: self.ready(1), within=MINUTES, every=1)
        await asyncio.sleep(2)
        async with self.costs("idle, 30 s"):
            await asyncio.sleep(IDLE_SECONDS)
        await self._no_op()
        await self._repair()
        change = {"ingress": {"annotations": {"example.com/changed": "all"}}}
        async with self.costs("all changed at once, ready again"):
            await self.all(lambda store: store.apply(change))
            await eventually("all are ready", lambda: self.ready(2), within=MINUTES, every=0.5)
        return self.row

    async def _all_report(self) -> bool:
        found = await self.kube.list("webstores", self.namespace)
        return len(found) == len(self.stores) and all("status" in body for body in found)

    async def _no_op(self) -> None:
        """Wakes every store by a label on the WebStore; nothing is to be done."""
        names = ("webstore_operator_reconcile_seconds_sum", "webstore_operator_reconcile_seconds_count")
        applied = await self.metric("webstore_operator_applied_total")
        before = [await self.metric(name) for name in names]
        cpu = cpu_seconds([self.operator.process.pid])
        patch = {"metadata": {"labels": {"look": "again"}}}
        await self.all(lambda store: self.kube.patch("webstores", self.namespace, store.name, patch))

        async def looked() -> bool:
            return await self.metric(names[1]) - before[1] >= len(self.stores)

        await eventually("all are looked at", looked, within=300)
        seconds, looks = [await self.metric(name) - earlier for name, earlier in zip(names, before, strict=True)]
        assert await self.metric("webstore_operator_applied_total") == applied, "there was nothing to do"
        self.row.columns["no-op look: ms"] = f"{seconds / looks * 1000:.1f}"
        self.row.columns["no-op look: CPU ms, event included"] = (
            f"{(cpu_seconds([self.operator.process.pid]) - cpu) / looks * 1000:.1f}"
        )

    async def _repair(self) -> None:
        """Deletes a Service, and changes a ConfigMap, of one store after the other."""
        took = []
        for n in range(REPAIRS):
            store = self.stores[n * len(self.stores) // REPAIRS]
            name = f"{store.name}-order"
            if n % 2:
                await self.kube.delete("services", self.namespace, name)
                began = time.monotonic()
                await eventually(
                    "it is back", lambda name=name: self.kube.get("services", self.namespace, name), every=0.02
                )
            else:
                body = await self.kube.get("configmaps", self.namespace, name)
                assert body is not None
                key = next(iter(body["data"]))
                await self.kube.patch("configmaps", self.namespace, name, {"data": {key: "changed"}})
                began = time.monotonic()

                async def back(name: str = name, was: object = body["data"]) -> bool:
                    now = await self.kube.get("configmaps", self.namespace, name)
                    return now is not None and now["data"] == was

                await eventually("it is put back", back, every=0.02)
            took.append(time.monotonic() - began)
        self.row.columns["repair: median s"] = f"{statistics.median(took):.2f}"
        self.row.columns["repair: longest s"] = f"{max(took):.2f}"


async def measure(kube: Kube, numbers: list[int]) -> list[Row]:
    """A row for each number of stores, each with an operator and a namespace of its own."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rights = await grant(kube, folder)
        await make_room(kube)
        for number in numbers:
            namespace = f"bench-{number}-{os.getpid()}"
            await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            print(f"{number} WebStores", flush=True)
            async with running(Kubelet(kube)), operating(rights, folder) as operator:
                bench = Bench(kube, operator, namespace, number)
                try:
                    await eventually("it works", lambda bench=bench: _leads(bench))
                    rows.append(await bench.measure())
                finally:
                    await kube.delete("namespaces", "", namespace)
            write(rows)
            # The next operator would look at these stores too.
            await eventually("they are gone", lambda name=namespace: _gone(kube, name), within=MINUTES, every=1)
    return rows


async def _gone(kube: Kube, namespace: str) -> bool:
    return await kube.get("namespaces", "", namespace) is None


async def _leads(bench: Bench) -> bool:
    try:
        return await bench.metric("webstore_operator_leading") == 1
    except httpx.TransportError:
        return False


def write(rows: list[Row]) -> None:
    """Writes the table, a column for each number of stores."""
    lines = [
        "# What the operator costs",
        "",
        "Written by `make bench-operator` (`python -m tests.bench.operator 1 100 300`). A real API server "
        "without nodes on the same machine;",
        "the operator has the rights of its chart. Each WebStore has the five services and nothing else, all "
        "defaults. CPU and memory (PSS) are",
        "of the operator and the helm processes that it starts. All stores are made, and changed (an annotation "
        "of their Ingresses), at once.",
        "",
        "| | " + " | ".join(f"{row.stores} WebStores" if row.stores > 1 else "1 WebStore" for row in rows) + " |",
        "| --- |" + " ---: |" * len(rows),
        *(f"| {name} | " + " | ".join(row.columns.get(name, "") for row in rows) + " |" for name in rows[0].columns),
        "",
        f"Measured: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        f"On: {description()}. Load average meanwhile: {os.getloadavg()[1]:.0f}.",
        "",
    ]
    (HERE / "results-operator.md").write_text("\n".join(lines))


async def main() -> None:
    """Measures, for the numbers of stores on the command line."""
    kubeconfig = os.environ.get("WEBSTORE_TEST_APISERVER")
    if not kubeconfig:
        sys.exit(
            "Set WEBSTORE_TEST_APISERVER to the kubeconfig of an API server without nodes; everything in it may "
            "be changed."
        )
    kube = Kube(Path(kubeconfig))
    await measure(kube, [int(argument) for argument in sys.argv[1:]] or [1, 100, 300])
    await kube.http.aclose()


if __name__ == "__main__":
    asyncio.run(main())
