"""How long a store takes to be ready: `kubectl apply` of a WebStore beside `helm install --wait` of the same objects.

`make up` first, then `make bench-cluster`. The rounds alternate, so that what else the machine does hits both alike;
every image is on the node already. Writes results-cluster.md beside this file.
"""

import argparse
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.e2e.cluster import ROOT, Cluster, Store

RESULTS = Path(__file__).with_name("results-cluster.md")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each way [%(default)s]")
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        cluster = _cluster(Path(folder))
        cluster.install_operator()
        ways = {"kubectl apply": _apply, "helm install --wait": _install}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(1, rounds + 1):
            for way, bring_up in ways.items():
                taken = _measure(cluster, f"bench-{number}", bring_up)
                seconds[way].append(taken)
                print(f"round {number} of {rounds}: {way} {taken:.1f} s", flush=True)
    RESULTS.write_text(_report(seconds))
    print(RESULTS.read_text())


def _cluster(folder: Path) -> Cluster:
    name = os.environ.get("CLUSTER") or "webstore"
    kubeconfig = folder / "kubeconfig"
    command = ["kind", "get", "kubeconfig", "--name", name]
    kubeconfig.write_text(subprocess.run(command, text=True, capture_output=True, check=True).stdout)
    kubeconfig.chmod(0o600)
    return Cluster(name, kubeconfig)


def _measure(cluster: Cluster, namespace: str, bring_up: Callable[[Store], None]) -> float:
    store = Store(cluster, namespace)
    cluster.namespace(namespace)
    try:
        began = time.monotonic()
        bring_up(store)
        return time.monotonic() - began
    finally:
        cluster.delete_namespace(namespace)


def _apply(store: Store) -> None:
    store.apply()
    store.await_ready()


def _install(store: Store) -> None:
    options = ("--namespace", store.namespace, "--wait", "--timeout=420s", "--set", f"global.ingress.host={store.host}")
    store.cluster.helm("install", store.name, ROOT / "charts/webstore", *options)


def _report(seconds: dict[str, list[float]]) -> str:
    rows = "\n".join(
        f"| {way} | {statistics.median(taken):.1f} | {min(taken):.1f} | {max(taken):.1f} | "
        f"{', '.join(f'{one:.1f}' for one in taken)} |"
        for way, taken in seconds.items()
    )
    applied, installed = (statistics.median(taken) for taken in seconds.values())
    return f"""# From nothing to a ready store

`make bench-cluster` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, {platform.system()} {platform.machine()},
a kind cluster of one node, every image on the node. The same objects in both ways; seconds until the last one is ready.

| way | median | least | most | each round |
| --- | ---: | ---: | ---: | --- |
{rows}

The operator takes {(applied / installed - 1) * 100:+.0f} % beside Helm alone (target: at most +10 %).
"""


if __name__ == "__main__":
    main()
