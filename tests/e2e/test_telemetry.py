"""The store with everything on: what a customer does is found in Zipkin and Elasticsearch, by way of the sidecars."""

import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.cluster import ROOT, SERVICES, Cluster, Store, eventually

EMAIL, STREET = "ann.smith@example.com", "17 Rosewood Lane"


@pytest.fixture(scope="module")
def store(cluster: Cluster) -> Iterator[Store]:
    """`examples/webstore-full.yaml`, without Kibana, of which there may be no image."""
    spec = yaml.safe_load((ROOT / "examples/webstore-full.yaml").read_text())["spec"]
    spec["logging"]["kibana"] = False
    images = ("openzipkin/zipkin:3.6.1", "docker.elastic.co/elasticsearch/elasticsearch:9.5.3",
              "otel/opentelemetry-collector-contrib:0.155.0", "rsyslog/rsyslog-collector:2025-04")  # fmt: skip
    cluster.load(*images)
    store = Store(cluster, "e2e-telemetry")
    cluster.namespace(store.namespace)
    try:
        with _gateway_traces_to(store):
            store.apply(spec)
            store.await_ready()
            store.await_answers()
            yield store
    finally:
        cluster.delete_namespace(store.namespace)


@contextmanager
def _gateway_traces_to(store: Store) -> Iterator[None]:
    """The ingress controller as `make up FULL=1` sets it up, for this store; then as it was."""
    cluster = store.cluster

    def set_up(*arguments: str, stdin: str | None = None) -> None:
        cluster.kubectl(*arguments, stdin=stdin)
        cluster.kubectl("--namespace", "traefik", "rollout", "status", "deployment/traefik", "--timeout=180s")

    was = cluster.get("--namespace", "traefik", "deployment/traefik")["spec"]
    traced = cluster.kubectl("kustomize", str(ROOT / "kustomize/kind-traced"))
    assert "store-zipkin.default:" in traced
    try:
        set_up("apply", "-f", "-", stdin=traced.replace("store-zipkin.default:", f"store-zipkin.{store.namespace}:"))
        yield
    finally:
        back = json.dumps([{"op": "replace", "path": "/spec", "value": was}])
        set_up("--namespace", "traefik", "patch", "deployment/traefik", "--type=json", "--patch", back)


@contextmanager
def _forwarded(store: Store, service: str, port: int) -> Iterator[httpx.Client]:
    command = ["kubectl", "--namespace", store.namespace, "port-forward", f"service/{service}", f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=store.cluster.environment) as process:
        assert process.stdout is not None
        local = process.stdout.readline().split(":")[1].split()[0]
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{local}", timeout=30, trust_env=False) as client:
                yield client
        finally:
            process.terminate()


def _check_out(store: Store) -> str:
    """Buys something; returns the request id of the checkout."""
    with store.client() as http:
        number, cart = secrets.token_hex(4), secrets.token_hex(4)
        product = {"productNumber": number, "name": "tea", "price": 3, "stock": {"quantity": 9}}
        http.post("/product", json=product).raise_for_status()
        ann = {"firstName": "Ann", "lastName": "Smith", "email": EMAIL, "address": {"street": STREET}}
        http.headers["Customer-ID"] = http.post("/customer", json=ann).raise_for_status().json()["id"]
        line = {"productNumber": number, "quantity": 2}
        http.post(f"/shopping-command/add-to-cart/{cart}", json=line).raise_for_status()
        answer = http.post(f"/shopping-query/{cart}/checkout").raise_for_status()
        http.post(f"/order/{answer.json()['id']}/place").raise_for_status()
        return answer.headers["x-request-id"]


def test_a_checkout_is_one_trace_in_zipkin_and_its_lines_are_in_elasticsearch(store: Store) -> None:
    request = _check_out(store)
    with (
        _forwarded(store, "store-elasticsearch", 9200) as elasticsearch,
        _forwarded(store, "store-zipkin", 9411) as zipkin,
    ):

        def lines(**term: str) -> list[dict[str, Any]]:
            body = {"query": {"term": term}, "size": 1000}
            answer = elasticsearch.post("/webstore-log-*/_search", json=body)
            return [hit["_source"] for hit in answer.json()["hits"]["hits"]] if answer.is_success else []

        (line,) = eventually(
            "the log line of the checkout is in Elasticsearch",
            lambda: [line for line in lines(request_id=request) if line["service"] == "shopping-query"],
        )

        def whole() -> list[dict[str, Any]]:
            # Each service's sidecar ships on its own: the last span in time may be the first to arrive.
            answer = zipkin.get(f"/api/v2/trace/{line['trace_id']}")
            spans = answer.json() if answer.is_success else []
            services = {span["localEndpoint"]["serviceName"] for span in spans}
            all_are_there = services == {"gateway", *SERVICES} and any(span["name"] == "send mail" for span in spans)
            return spans if all_are_there else []

        spans = eventually(
            "the checkout's trace is in Zipkin, from the gateway through all services to the mail", whole
        )
        [root] = [span for span in spans if "parentId" not in span]
        assert root["localEndpoint"]["serviceName"] == "gateway"
        everything = json.dumps([spans, lines(trace_id=line["trace_id"])])
        assert EMAIL not in everything
        assert STREET not in everything


def test_what_a_gateway_knows_of_callers_does_not_reach_zipkin(store: Store) -> None:
    trace = secrets.token_hex(16)
    caller = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01", "User-Agent": EMAIL}
    with store.client() as http:
        http.get(f"/customer/{EMAIL}", params={"q": STREET}, headers=caller)
    with _forwarded(store, "store-zipkin", 9411) as zipkin:

        def of_gateway() -> list[dict[str, Any]]:
            answer = zipkin.get(f"/api/v2/trace/{trace}")
            spans = answer.json() if answer.is_success else []
            return [span for span in spans if span["localEndpoint"]["serviceName"] == "gateway"]

        spans = eventually("the gateway's spans are in Zipkin", of_gateway)
    assert any(span["tags"].get("http.request.method") == "GET" for span in spans)
    said = json.dumps(spans)
    assert EMAIL not in said
    assert STREET.split()[1] not in said


def test_the_webstore_says_where_to_look(store: Store) -> None:
    status = store.get("webstore", store.name)["status"]
    assert "port-forward service/store-zipkin" in status["traces"]
    assert "port-forward service/store-elasticsearch" in status["logs"]


def test_with_zipkin_elasticsearch_and_their_indexer_gone_customers_shop_on(store: Store) -> None:
    for pod in store.pods("zipkin", "elasticsearch", "rsyslog"):
        store.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
    for _ in range(5):
        _check_out(store)
    assert all(
        container["ready"] for pod in store.pods(*SERVICES) for container in pod["status"]["containerStatuses"]
    ), "no service's pod minds"
