"""The collector beside a service, as the chart configures it: what it counts while nothing takes what it has."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.telemetry.containers import Containers, containers, need_images, rendered
from tests.telemetry.pipeline import eventually
from tests.unit.test_alerts import COLLECTORS


def _soon(config: str) -> str:
    """The same, with bounds that are reached at once, and an address that the test reaches."""
    for old, new in (
        ("127.0.0.1:4318", "0.0.0.0:4318"),
        ("queue_size: 50", "queue_size: 1"),
        ("queue_size: 20", "queue_size: 1"),
        ("max_elapsed_time: 60s", "max_elapsed_time: 5s"),
        # Lines wait without end: so that some fail for good.
        ("max_interval: 5s, max_elapsed_time: 0s", "max_interval: 1s, max_elapsed_time: 2s"),
    ):
        assert old in config
        config = config.replace(old, new)
    return config


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Containers]:
    objects = rendered({"global": {"tracing": {"enabled": True}, "logging": {"enabled": True}}})
    need_images("otel/opentelemetry-collector-contrib:0.155.0")
    (tmp_path / "log").mkdir(mode=0o755)
    with containers(objects, tmp_path / "volumes") as parts:
        yield parts


def test_what_it_drops_is_counted_by_the_names_that_the_alert_asks_for(parts: Containers, tmp_path: Path) -> None:
    collector = parts.run(
        "Deployment", "store-order", "telemetry", publish=[4318, 8888], folders={"log": tmp_path / "log"}, change=_soon
    )  # fmt: skip
    figures, traces = parts.url(collector, 8888) + "/metrics", parts.url(collector, 4318) + "/v1/traces"
    tracer = TracerProvider()
    tracer.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(traces)))
    lines = (tmp_path / "log" / "webstore.log").open("a", buffering=1)

    def counted() -> set[str]:
        tracer.get_tracer("test").start_span("test").end()
        lines.write("{}\n")
        try:
            found = httpx.get(figures, trust_env=False).text
        except httpx.HTTPError:
            return set()  # not yet
        return {
            name
            for name, value in re.findall(r'^(\w+)\{exporter="kafka/\w+"[^}]*\} (\S+)$', found, re.M)
            if float(value)
        }

    with lines:
        eventually(lambda: counted() >= COLLECTORS, seconds=120)
