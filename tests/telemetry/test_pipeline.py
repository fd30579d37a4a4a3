"""The way of traces and logs for real: collector, Kafka, Zipkin, rsyslog and Elasticsearch as the charts run them."""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.telemetry.containers import docker
from tests.telemetry.pipeline import Pipeline, eventually, running_pipeline
from tests.telemetry.shop import EMAIL, PHONE, STREET, Shop, running
from tests.unit.test_alerts import SENT
from webstore_embedded import demo

FIVE = {"customer", "product", "order", "shopping-command", "shopping-query"}
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with running_pipeline(tmp_path_factory.mktemp("pipeline")) as running:
        yield running


@pytest.fixture(scope="module")
def shop(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": pipeline.otlp, "OTEL_BSP_SCHEDULE_DELAY": "200",
        "WEBSTORE_LOG_LEVEL": "INFO", "WEBSTORE_LOG_FILE": str(pipeline.log),
    }  # fmt: skip
    with running(tmp_path_factory.mktemp("shop") / "data", **environment) as shop:
        yield shop


def _never_died(pipeline: Pipeline, part: str) -> bool:
    state = docker("inspect", "--format", "{{.State.Running}} {{.State.OOMKilled}}", pipeline.containers[part])
    return state == "true false"


def _check_out(shop: Shop) -> str:
    """Buys something; returns the request id of the checkout."""
    answer = shop.answer("POST", f"/shopping-query/{shop.filled_cart()}/checkout")
    shop.call("POST", f"/order/{answer.json()['id']}/place")
    return answer.headers["x-request-id"]


def test_a_log_line_leads_to_the_trace_and_the_trace_to_its_log_lines(pipeline: Pipeline, shop: Shop) -> None:
    request = _check_out(shop)
    (line,) = eventually(lambda: pipeline.lines(request_id=request, service="shopping-query"))
    assert (line["route"], line["status"]) == ("/shopping-query/{cart_number}/checkout", 200)

    def whole() -> list[dict[str, Any]]:
        spans = pipeline.trace(line["trace_id"])
        arrived = {span["id"] for span in spans}
        mailed = any(span["name"] == "send mail" for span in spans)
        return spans if mailed and all(span.get("parentId", span["id"]) in arrived for span in spans) else []

    spans = eventually(whole)
    assert {span["localEndpoint"]["serviceName"] for span in spans} == FIVE
    kinds = {span["name"]: span.get("kind") for span in spans}
    assert (kinds["send order-placed"], kinds["process order-placed"]) == ("PRODUCER", "CONSUMER")
    lines = eventually(lambda: len(found := pipeline.lines(trace_id=line["trace_id"])) > 2 and found)
    assert {each["span_id"] for each in lines} <= {span["id"] for span in spans}
    assert {"shopping-query", "shopping-command", "order"} <= {each["service"] for each in lines}


def test_nothing_personal_reaches_zipkin_or_elasticsearch(pipeline: Pipeline, shop: Shop) -> None:
    request = _check_out(shop)
    (line,) = eventually(lambda: pipeline.lines(request_id=request, service="shopping-query"))
    eventually(lambda: [span for span in pipeline.trace(line["trace_id"]) if span["name"] == "send mail"])
    spans = pipeline.traces()
    assert {"post /customer", "send mail"} <= {span["name"] for span in spans}
    everything = json.dumps([spans, pipeline.lines()])
    for personal in (EMAIL, PHONE, STREET, "Smith"):
        assert personal not in everything


def test_the_mapping_is_the_templates(pipeline: Pipeline, shop: Shop) -> None:
    request = _check_out(shop)
    line = eventually(lambda: pipeline.lines(request_id=request))[0]
    assert line["@timestamp"] == line["timestamp"], "what Kibana sorts by is when it was logged"
    name = f"webstore-log-{datetime.now(UTC):%Y.%m.%d}"
    mapping = pipeline.elasticsearch.get(f"/{name}/_mapping").json()[name]["mappings"]["properties"]
    types = {field: mapping[field]["type"] for field in ("@timestamp", "service", "trace_id", "duration_ms", "message")}
    assert types == {
        "@timestamp": "date", "service": "keyword", "trace_id": "keyword", "duration_ms": "float", "message": "text",
    }  # fmt: skip


def test_lines_that_are_broken_long_or_odd_do_not_stop_those_behind_them(pipeline: Pipeline) -> None:
    marker = os.urandom(8).hex()
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")

    def line(**fields: Any) -> bytes:
        return json.dumps({"timestamp": stamp, "service": "test", "level": "INFO", "message": "x", **fields}).encode()

    pipeline.write(
        b"Traceback (most recent call last): " + marker.encode(),
        b'{"service": "test", "message": "cut off',
        b"[1, 2]", b"null", b"", b"{}", b'"text"',
        b'{"a": ' * 200, b"\x00\xff\xfe\xf0\x28\x8c\x28 \xc3\x28", "💥 \u202e \u2028 ﷽".encode(),
        line(message="💥 \u0000 \ud800 \u2028", odd="\ud83d"),
        line(message="y" * 1_000_000), b"z" * 1_000_000,
        line(service={"an": "object"}), line(status="not a number"), line(duration_ms={"deep": [[1]]}),
        b'{"message": "twice", "message": "the same", "n": 1e400}',
        line(**{f"field{number}": number for number in range(600)}),
        line(**{"a.b": 1, "a": 2, "": 3, ".": 4, "_id": 5}),
        line(request_id=marker),
    )  # fmt: skip
    assert eventually(lambda: pipeline.lines(request_id=marker))
    query = {"query": {"match_phrase": {"message": marker}}}
    search = eventually(
        lambda: pipeline.elasticsearch.post("/webstore-log-*/_search", json=query).json()["hits"]["hits"]
    )
    assert search[0]["_source"]["level"] == "UNKNOWN", "what is no JSON is kept as a message"


@pytest.mark.parametrize("how", ["dead", "hanging"])
@pytest.mark.parametrize("part", ["kafka", "elasticsearch", "zipkin", "rsyslog", "sidecar"])
def test_with_a_part_away_the_store_is_as_always_and_what_was_logged_meanwhile_arrives(
    pipeline: Pipeline, shop: Shop, part: str, how: str
) -> None:
    marker = os.urandom(8).hex()
    with pipeline.without(part, hangs=how == "hanging"):
        demo.play(shop.url)
        requests = [_check_out(shop) for _ in range(3)]
        pipeline.write(*(json.dumps({"service": "test", "request_id": marker, "n": n}).encode() for n in range(500)))
    arrived = eventually(lambda: len(found := pipeline.lines(request_id=marker)) >= 500 and found)
    assert {line["n"] for line in arrived} == set(range(500))
    for request in requests:
        assert eventually(lambda request=request: pipeline.lines(request_id=request))
    later = _check_out(shop)
    line = eventually(lambda: pipeline.lines(request_id=later, service="shopping-query"))[0]
    assert eventually(lambda: pipeline.trace(line["trace_id"])), "traces are shipped again"


def _tell(pipeline: Pipeline, program: str, *arguments: str) -> str:
    """What one of Kafka's programs says."""
    command = [f"/opt/kafka/bin/{program}", "--bootstrap-server", "localhost:9092", "--describe", *arguments]
    return docker("exec", "--env", "KAFKA_HEAP_OPTS=-Xmx64m", pipeline.containers["kafka"], *command)


@pytest.mark.parametrize("topic", ["zipkin", "webstore-log"])
def test_traces_and_logs_cannot_fill_the_volume_of_the_events(pipeline: Pipeline, topic: str) -> None:
    def bound() -> dict[str, int]:
        told = _tell(pipeline, "kafka-configs.sh", "--topic", topic, "--all")
        found = re.findall(r"^ *(segment|retention)\.bytes=([0-9]+)", told, re.M)
        return {name: int(value) for name, value in found}

    bytes_ = eventually(bound)
    (partitions,) = re.findall(r"PartitionCount: ([0-9]+)", _tell(pipeline, "kafka-topics.sh", "--topic", topic))
    assert int(partitions) * (bytes_["retention"] + bytes_["segment"]) <= 2**31 / 8, "both: a quarter of the volume"


def test_a_line_that_elasticsearch_refuses_for_now_arrives_later(pipeline: Pipeline) -> None:
    before, after = (os.urandom(8).hex() for _ in range(2))
    pipeline.write(json.dumps({"service": "test", "request_id": before}).encode())
    eventually(lambda: pipeline.lines(request_id=before))
    index = f"/webstore-log-{datetime.now(UTC):%Y.%m.%d}/_settings"

    def block(value: bool | None) -> None:
        """What Elasticsearch does by itself where its disk is full; it answers 429 then."""
        pipeline.elasticsearch.put(index, json={"index.blocks.read_only_allow_delete": value}).raise_for_status()

    block(True)
    waiting = pipeline.waiting()
    try:
        pipeline.write(*(json.dumps({"service": "test", "request_id": after, "n": n}).encode() for n in range(300)))
        eventually(lambda: pipeline.waiting() != waiting)
    finally:
        block(None)
    arrived = eventually(lambda: len(found := pipeline.lines(request_id=after)) >= 300 and found)
    assert {line["n"] for line in arrived} == set(range(300))


def test_long_lines_while_elasticsearch_is_away_fit_into_the_memory_of_their_way(pipeline: Pipeline) -> None:
    marker, count = os.urandom(8).hex(), 1000
    sent = pipeline.sent()

    def position() -> list[str]:
        """How far rsyslog has read, which it tells Kafka every five seconds."""
        told = _tell(pipeline, "kafka-consumer-groups.sh", "--group", "store-rsyslog")
        return re.findall(r"webstore-log +([0-9]+ +[0-9]+)", told)

    with pipeline.without("elasticsearch", hangs=True):
        long = os.urandom(60_000).hex()
        for n in range(count):
            pipeline.write(json.dumps({"service": "test", "request_id": marker, "n": n, "long": long}).encode())
        eventually(lambda: pipeline.sent() >= sent + count)
        read: list[list[str]] = []
        eventually(lambda: read.append(position()) or read[-2:-1] == read[-1:], every=6)
    query = {"query": {"term": {"request_id": marker}}}
    eventually(lambda: pipeline.elasticsearch.post("/webstore-log-*/_count", json=query).json()["count"] >= count)
    assert _never_died(pipeline, "rsyslog")


def test_old_indices_are_deleted_and_others_are_kept(pipeline: Pipeline) -> None:
    today = datetime.now(UTC)
    names = {days: f"webstore-log-{today - timedelta(days=days):%Y.%m.%d}" for days in (6, 7, 8, 400)}
    for name in (*names.values(), "webstore-log-archive", "another"):
        pipeline.elasticsearch.put(f"/{name}")
    pipeline.indices("delete-older-than", "7")
    left = {index["index"] for index in pipeline.elasticsearch.get("/_cat/indices?format=json").json()}
    assert {names[6], names[7], "webstore-log-archive", "another"} <= left
    assert not {names[8], names[400]} & left


def test_the_collector_stays_within_its_memory_and_says_what_it_sent(pipeline: Pipeline, shop: Shop) -> None:
    for _ in range(20):
        _check_out(shop)
    figures = httpx.get(pipeline.figures, trust_env=False).text
    assert re.search(rf'^{SENT}\{{exporter="kafka/logs"', figures, re.MULTILINE)
    assert _never_died(pipeline, "sidecar")
