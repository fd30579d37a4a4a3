"""Zipkin, the two ways to Elasticsearch, and Kibana, as the charts set them up."""

import ast
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.charts.rendering import CHARTS, Refused, check, containers, manifest, named, of_kind, render

IMPORT = CHARTS / "kibana/import.py"
ON: dict[str, Any] = {"tracing": {"enabled": True}, "logging": {"enabled": True}}
HOSTS: dict[str, Any] = {
    "tracing": {"enabled": True, "host": "traces.example.com"},
    "logging": {"enabled": True, "host": "logs.example.com"},
}


def variables(objects: list[dict[str, Any]], part: str) -> dict[str, str]:
    """What the first container of a part is told."""
    return {item["name"]: item.get("value", "") for item in containers(named(objects, "Deployment", part))[-1]["env"]}


def saved(**changes: Any) -> list[dict[str, Any]]:
    """The objects that Kibana is given."""
    config = named(render({"global": ON | changes}), "ConfigMap", "store-kibana")
    return [json.loads(line) for line in config["data"]["saved-objects.ndjson"].splitlines()]


def mapping() -> set[str]:
    """The fields that the index template has."""
    program = named(render({"global": ON}), "ConfigMap", "store-rsyslog-indexing")["data"]["indices.py"]
    [template] = [node.value for node in ast.parse(program).body
                  if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TEMPLATE"]  # fmt: skip
    return set(ast.literal_eval(template)["template"]["mappings"]["properties"])


def fields(item: dict[str, Any]) -> set[str]:
    """The fields of the log that one of Kibana's objects reads."""
    text = json.dumps(item)
    attributes = item["attributes"]
    source = json.loads(attributes.get("kibanaSavedObjectMeta", {}).get("searchSourceJSON", "{}"))
    query = (source.get("query") or attributes.get("state", {}).get("query") or {"query": ""})["query"]
    asked = set(re.findall(r"([\w.@]+) *(?::|[<>]=?)", query))
    columns = {name for name in re.findall(r'"sourceField": "([^"]+)"', text) if name != "___records___"}
    shown = {*attributes.get("columns", []), *(name for name, _ in attributes.get("sort", []))}
    linked = json.loads(attributes.get("fieldFormatMap", "{}"))
    return asked | columns | shown | {*linked} | {attributes.get("timeFieldName", "@timestamp")}


def test_kibana_is_told_of_which_version_each_object_is() -> None:
    """Else it takes them for ones of 7.x, and fails as it looks for what only those had."""
    versions = {"index-pattern": "8.0.0", "lens": "8.9.0", "search": "10.5.0", "dashboard": "8.9.0"}
    for item in saved():
        assert (item["coreMigrationVersion"], item["typeMigrationVersion"]) == ("8.8.0", versions[item["type"]])


def test_kibana_reads_fields_that_the_log_has_and_objects_that_are_there() -> None:
    objects, known = saved(), mapping()
    there = {(item["type"], item["id"]) for item in objects}
    for item in objects:
        assert fields(item) <= known
        assert {(reference["type"], reference["id"]) for reference in item["references"]} <= there
    read = set().union(*map(fields, objects))
    assert {"logger", "status", "duration_ms", "breaker", "trace_id", "level"} <= read, "the test sees them"


def links(**changes: Any) -> str:
    """Where Kibana's view of the log leads to."""
    [view] = [item for item in saved(**changes) if item["type"] == "index-pattern"]
    return str(view["attributes"].get("fieldFormatMap", ""))


def test_a_line_leads_to_its_trace_where_zipkin_is() -> None:
    assert '"http://localhost:9411/zipkin/traces/{{value}}"' in links()
    assert '"http://traces.example.com/zipkin/traces/{{value}}"' in links(**HOSTS)
    assert not links(tracing={"enabled": False})
    assert not links(tracing={"enabled": True, "external": {"endpoint": "http://elsewhere:4318"}})


def test_a_trace_leads_to_its_lines_where_kibana_is() -> None:
    def logs(**changes: Any) -> str:
        return variables(render({"global": ON | changes}), "store-zipkin").get("ZIPKIN_UI_LOGS_URL", "")

    assert re.fullmatch(r"http://localhost:5601/app/discover#/\?.*\{traceId\}.*", logs())
    assert logs(**HOSTS).startswith("http://logs.example.com/app/discover#/")
    for elsewhere in ({}, {"enabled": True, "kibana": False}, {"enabled": True, "external": {"url": "http://e:9200"}}):
        assert not logs(logging=elsewhere)


@contextmanager
def importing(tmp_path: Path, status: int, answer: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """The program that imports, at a Kibana that gives this answer."""

    class Kibana(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Kibana)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    program = tmp_path / "import.py"
    program.write_text(IMPORT.read_text().replace("localhost:5601", f"127.0.0.1:{server.server_port}"))
    (tmp_path / "saved-objects.ndjson").write_text("{}\n")
    process = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        server.shutdown()
        server.server_close()


REFUSALS: list[tuple[int, dict[str, Any]]] = [
    (200, {"success": False, "successCount": 6, "errors": [{"id": "webstore-slow", "error": {"type": "unknown"}}]}),
    (400, {"message": "webstore-slow belongs to a more recent version"}),
]


@pytest.mark.parametrize(("status", "answer"), REFUSALS)
def test_what_kibana_does_not_take_is_said_and_fails(tmp_path: Path, status: int, answer: dict[str, Any]) -> None:
    with importing(tmp_path, status, answer) as process:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "webstore-slow" in errors


def test_what_kibana_takes_is_counted_and_the_container_rests(tmp_path: Path) -> None:
    with importing(tmp_path, 200, {"success": True, "successCount": 7}) as process:
        assert process.stdout is not None
        assert "imported 7 objects" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_logstash_runs_the_stores_pipeline_alone() -> None:
    """Its image has pipeline/logstash.conf, and every file of that folder is run."""
    objects = render({"global": {"logging": {"enabled": True, "indexer": "logstash"}}})
    mounts = containers(named(objects, "Deployment", "store-logstash"))[-1]["volumeMounts"]
    pipelines = {mount["mountPath"]: mount["subPath"] for mount in mounts if "/pipeline" in mount["mountPath"]}
    assert pipelines == {"/usr/share/logstash/pipeline/logstash.conf": "webstore.conf"}


@pytest.mark.parametrize(
    ("url", "port"), [("https://logs.example.com", 443), ("http://logs.example.com/es", 80), ("http://e:9201", 9201)]
)
@pytest.mark.parametrize("indexer", ["rsyslog", "logstash"])
def test_the_port_of_an_external_elasticsearch_is_the_same_for_all(url: str, port: int, indexer: str) -> None:
    """Logstash would take 9200 where a URL has none, Python 443 or 80."""
    logging = {"enabled": True, "indexer": indexer, "external": {"url": url}}
    objects = render({"global": {"logging": logging}})
    parts = urlsplit(url)
    whole = f"{parts.scheme}://{parts.hostname}:{port}{parts.path}"
    indexing = named(objects, "Deployment", f"store-{indexer}")
    for container in containers(indexing):
        assert {"name": "ELASTICSEARCH_URL", "value": whole} in container["env"]
    settings = "".join(named(objects, "ConfigMap", f"store-{indexer}")["data"].values())
    assert f'hosts => ["{whole}"]' in settings or f'serverport="{port}"' in settings
    assert {"ports": [{"port": port}]} in named(objects, "NetworkPolicy", f"store-{indexer}")["spec"]["egress"]


def test_zipkins_collector_takes_the_gateways_spans_without_what_tells_of_a_caller() -> None:
    traced = {"enabled": True, "gateway": True}
    objects = render({"global": ON | {"tracing": traced, "ingress": {"controllerNamespace": "edge"}}})
    check(objects)
    ports = {port["name"]: port["port"] for port in named(objects, "Service", "store-zipkin")["spec"]["ports"]}
    assert ports == {"http": 9411, "otlp": 4318}
    settings = yaml.safe_load(named(objects, "ConfigMap", "store-zipkin-telemetry")["data"]["collector.yaml"])
    assert settings["receivers"] == {"otlp": {"protocols": {"http": {"endpoint": "0.0.0.0:4318"}}}}
    [(name, pipeline)] = settings["service"]["pipelines"].items()
    assert (name, pipeline["exporters"]) == ("traces", ["kafka/traces"])
    assert "transform" in pipeline["processors"]  # what it does is seen in tests/e2e/test_telemetry.py
    [entrance] = named(objects, "NetworkPolicy", "store-zipkin")["spec"]["ingress"]
    edge = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}
    assert entrance == {"ports": [{"port": 4318}], "from": [edge]}
    assert "telemetry" in {container["name"] for container in containers(named(objects, "Deployment", "store-zipkin"))}


def test_prometheus_reads_what_zipkins_collector_loses() -> None:
    traced = {"enabled": True, "gateway": True}
    objects = render({"global": {"tracing": traced, "metrics": {"monitors": True, "namespace": "monitoring"}}})
    pod = named(objects, "Deployment", "store-zipkin")["spec"]["template"]["metadata"]["labels"]
    monitor = named(objects, "PodMonitor", "store-zipkin")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= pod.items()
    assert monitor["podMetricsEndpoints"] == [{"port": "telemetry", "path": "/metrics"}]
    prometheus = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    rules = named(objects, "NetworkPolicy", "store-zipkin")["spec"]["ingress"]
    assert {"ports": [{"port": 8888}], "from": [prometheus]} in rules


def test_without_a_gateway_that_traces_zipkin_is_reached_by_nobody_else() -> None:
    objects = render({"global": ON})
    assert [port["port"] for port in named(objects, "Service", "store-zipkin")["spec"]["ports"]] == [9411]
    assert [container["name"] for container in containers(named(objects, "Deployment", "store-zipkin"))] == ["zipkin"]
    assert "ingress" not in named(objects, "NetworkPolicy", "store-zipkin")["spec"]


@pytest.mark.parametrize("rest", [{}, {"enabled": True, "external": {"endpoint": "http://elsewhere:4318"}}])
def test_the_gateways_spans_are_for_the_stores_own_zipkin(rest: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"global.tracing.gateway is for the store's own Zipkin: write `enabled: true`"):
        manifest({"global": {"tracing": {"gateway": True} | rest}})


def test_the_pages_are_behind_the_gateway_where_the_store_is() -> None:
    parent = {"name": "entrance", "namespace": "gateways", "sectionName": "https"}
    objects = render({"global": HOSTS | {"gateway": {"parent": parent}}})
    check(objects)
    assert not of_kind(objects, "Ingress")
    for part, host, port in (("zipkin", "traces.example.com", 9411), ("kibana", "logs.example.com", 5601)):
        route = named(objects, "HTTPRoute", f"store-{part}")["spec"]
        assert (route["parentRefs"], route["hostnames"]) == ([parent], [host])
        [rule] = route["rules"]
        assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
        assert rule["backendRefs"] == [{"name": f"store-{part}", "port": port}]
        [service] = named(objects, "Service", f"store-{part}")["spec"]["ports"]
        assert service["port"] == port


def test_the_pages_are_behind_the_ingress_where_the_store_is() -> None:
    objects = render({"global": HOSTS})
    for part, host in (("zipkin", "traces.example.com"), ("kibana", "logs.example.com")):
        [rule] = named(objects, "Ingress", f"store-{part}")["spec"]["rules"]
        assert rule["host"] == host
    assert not of_kind(objects, "HTTPRoute")


@pytest.mark.parametrize("page", ["tracing", "logging"])
def test_a_page_without_an_entrance_is_refused(page: str) -> None:
    with pytest.raises(Refused, match=r"need an ingress: write `ingress: {enabled: true}`, or leave"):
        manifest({"global": {page: HOSTS[page], "ingress": {"enabled": False}}})


def test_prometheus_finds_by_the_labels_that_are_given_what_it_is_to_read() -> None:
    labels = {"release": "kube-prometheus-stack", "app.kubernetes.io/instance": "another"}
    objects = render({"global": {"metrics": {"monitors": True, "labels": labels}}})
    for kind in ("PodMonitor", "PrometheusRule"):
        told = named(objects, kind, "store")["metadata"]["labels"]
        assert told["release"] == "kube-prometheus-stack"
        assert told["app.kubernetes.io/instance"] == "store", "it owns these"
    assert "release" not in named(objects, "ConfigMap", "store-dashboard")["metadata"]["labels"]


def test_figures_say_which_store_they_are_of() -> None:
    monitor = named(render({"global": {"metrics": {"monitors": True}}}), "PodMonitor", "store")
    assert "app.kubernetes.io/instance" in monitor["spec"]["podTargetLabels"]
