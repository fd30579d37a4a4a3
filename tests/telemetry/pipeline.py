"""The way of traces and logs in containers, as the charts run it, and questions to its ends."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.telemetry.containers import Containers, containers, docker, need_images, rendered


class Pipeline:
    """Collector, Kafka, Zipkin, rsyslog and Elasticsearch."""

    def __init__(self, parts: Containers, log: Path) -> None:
        self.log = log
        self._parts = parts
        broker = "store-kafka-0.store-kafka-nodes.shop.svc"
        kafka = parts.run("StatefulSet", "store-kafka", "kafka", aliases=["store-kafka", broker])
        parts.run("StatefulSet", "store-elasticsearch", "config", detached=False)
        elasticsearch = parts.run(
            "StatefulSet", "store-elasticsearch", "elasticsearch", aliases=["store-elasticsearch"], publish=[9200]
        )
        zipkin = parts.run("Deployment", "store-zipkin", "zipkin", publish=[9411])
        # Beside the service it listens on localhost only; here another container's localhost is not ours.
        collector = parts.run(
            "Deployment", "store-order", "telemetry", publish=[4318, 8888, 13133], folders={"log": log.parent},
            change=lambda text: text.replace("127.0.0.1:4318", "0.0.0.0:4318"),
        )  # fmt: skip
        self.elasticsearch = httpx.Client(base_url=parts.url(elasticsearch, 9200), timeout=30, trust_env=False)
        self.zipkin = httpx.Client(base_url=parts.url(zipkin, 9411), timeout=30, trust_env=False)
        self.otlp = parts.url(collector, 4318)
        self.figures = parts.url(collector, 8888) + "/metrics"
        eventually(lambda: self._answers(self.elasticsearch, "/_cluster/health"))
        self.indices("template")
        rsyslog = parts.run("Deployment", "store-rsyslog", "rsyslog")
        eventually(lambda: self._answers(self.zipkin, "/health"))
        self.containers = {
            "kafka": kafka, "elasticsearch": elasticsearch, "zipkin": zipkin, "rsyslog": rsyslog, "sidecar": collector,
        }  # fmt: skip

    @contextmanager
    def without(self, part: str, *, hangs: bool) -> Iterator[None]:
        """A part is dead, or answers nothing, during a block of code; afterwards all is well again.

        Args:
            part: kafka, elasticsearch, zipkin, rsyslog or sidecar.
        """
        stop, start = ("pause", "unpause") if hangs else ("kill", "start")
        docker(stop, self.containers[part])
        try:
            yield
        finally:
            docker(start, self.containers[part])
            self.arrival(f"{part} is back")
            eventually(lambda: self._answers(self.zipkin, "/health"))

    def indices(self, *arguments: str) -> None:
        """Runs the program that makes the index template and deletes old indices."""
        program = self._parts.folder / "indices.py"
        program.write_text(self._parts.one("ConfigMap", "store-rsyslog-indexing")["data"]["indices.py"])
        environment = {**os.environ, "ELASTICSEARCH_URL": str(self.elasticsearch.base_url)}
        subprocess.run([sys.executable, program, *arguments], env=environment, check=True)

    def lines(self, **terms: str) -> list[dict[str, Any]]:
        """Log lines that Elasticsearch finds."""
        query = {"bool": {"filter": [{"term": {name: value}} for name, value in terms.items()]}}
        try:
            answer = self.elasticsearch.post("/webstore-log-*/_search", json={"query": query, "size": 1000})
        except httpx.TransportError:  # it may just be starting
            return []
        return [hit["_source"] for hit in answer.json()["hits"]["hits"]] if answer.status_code == 200 else []

    def waiting(self) -> dict[str, int]:
        """What rsyslog has on its disk to send again: files and their sizes."""
        return {file.name: file.stat().st_size for file in (self._parts.folder / "store-rsyslog" / "work").iterdir()}

    def sent(self) -> int:
        """How many lines the collector has brought to Kafka."""
        figures = httpx.get(self.figures, trust_env=False).text
        return sum(
            int(float(count)) for count in re.findall(r"^otelcol_exporter_sent_log_records\S* (\S+)", figures, re.M)
        )

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """A trace's spans that Zipkin finds."""
        answer = self.zipkin.get(f"/api/v2/trace/{trace_id}")
        return answer.json() if answer.status_code == 200 else []

    def traces(self) -> list[dict[str, Any]]:
        """The spans of all traces that Zipkin has."""
        return [span for trace in self.zipkin.get("/api/v2/traces?limit=10000").json() for span in trace]

    def write(self, *lines: bytes) -> None:
        """Puts lines into a log file, as a service does."""
        with (self.log.parent / "webstore.log.other").open("ab") as file:
            file.writelines(line + b"\n" for line in lines)

    def arrival(self, marker: str) -> float:
        """Writes a line, and returns the seconds until Elasticsearch finds it."""
        request = f"{marker} {os.urandom(4).hex()}"
        written = time.monotonic()
        self.write(json.dumps({"service": "bench", "request_id": request}).encode())
        eventually(lambda: self.lines(request_id=request), every=0.05)
        return time.monotonic() - written

    def collector_mib(self) -> float:
        """Memory of the collector's container, without what files it has in the cache."""
        (process,) = docker("inspect", "--format", "{{.State.Pid}}", self.containers["sidecar"]).splitlines()
        return psutil.Process(int(process)).memory_info().rss / 2**20

    @staticmethod
    def _answers(client: httpx.Client, path: str) -> bool:
        try:
            return client.get(path).status_code == 200
        except httpx.HTTPError:
            return False


def eventually(enough: Callable[[], Any], seconds: float = 600, every: float = 0.2) -> Any:
    """What is asked for, as soon as it is there."""
    ends = time.monotonic() + seconds
    while not (found := enough()):
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(every)
    return found


@contextmanager
def running_pipeline(folder: Path) -> Iterator[Pipeline]:
    """Starts all of it; what its parts said is printed at the end."""
    objects = rendered({"global": {"tracing": {"enabled": True}, "logging": {"enabled": True}}})
    wanted = {"store-kafka", "store-elasticsearch", "store-zipkin", "store-rsyslog", "store-order"}
    pods = [each["spec"]["template"]["spec"] for each in objects if each["metadata"]["name"] in wanted
            and each["kind"] in ("Deployment", "StatefulSet")]  # fmt: skip
    images = {spec["image"] for pod in pods for spec in (*pod.get("initContainers", []), *pod["containers"])}
    need_images(*sorted(image for image in images if not image.startswith("webstore/")))
    (folder / "log").mkdir()
    (folder / "log").chmod(0o755)
    with containers(objects, folder / "volumes") as parts:
        try:
            yield Pipeline(parts, folder / "log" / "webstore.log")
        finally:
            for name in parts.started:
                print("---", name, docker("logs", "--tail", "40", name))
