"""The alert rules and the dashboard ask for what is there: each figure, each label, each value that is known before."""

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from tests.unit.promql import NotPromQL, Selector, selectors
from webstore_chassis import metrics
from webstore_customer import mailer
from webstore_embedded import store as embedded
from webstore_operator import metrics as operator_metrics

_FILES = Path(__file__).parents[2] / "charts" / "webstore" / "files"
_RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((_FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
_PANELS: list[dict[str, Any]] = json.loads((_FILES / "dashboard.json").read_text())["panels"]
_EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in _RULES},
    **{
        f"{panel['title']} {target['refId']}": target["expr"].replace("$namespace", "shop")
        for panel in _PANELS
        for target in panel["targets"]
    },
}
# Prometheus adds these to what a PodMonitor finds.
_OF_PODS = {"namespace", "pod", "container"}
# tests/telemetry sees that the collector has them.
COLLECTORS = {
    f"otelcol_exporter_{what}_failed_{kind}" for what in ("send", "enqueue") for kind in ("spans", "log_records")
}
SENT = "otelcol_exporter_sent_log_records"
_OF_COLLECTORS = {*COLLECTORS, SENT}
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


def _labels(*modules: ModuleType) -> dict[str, set[str]]:
    """Figures as they are exported, with their labels."""
    found: dict[str, set[str]] = {}
    for module in modules:
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                (family,) = metric.describe()
                for suffix in _SUFFIXES[family.type]:
                    labels = {*metric._labelnames, *(["le"] if suffix == "_bucket" else [])}
                    found[family.name + suffix] = labels
    return found


_LABELS = _labels(metrics, mailer, operator_metrics) | {name: {"exporter"} for name in _OF_COLLECTORS}


@pytest.fixture(scope="module")
def at_the_start(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, str]]]:
    """The series of the services before anything has happened."""
    data = tmp_path_factory.mktemp("store")
    embedded.build("postgresql://nobody@nowhere/none", data, mail_folder=data / "mails")
    return [(sample.name, sample.labels) for family in REGISTRY.collect() for sample in family.samples]


def _asked(expression: str) -> list[Selector]:
    found = selectors(_EXPRESSIONS[expression])
    assert found, "it asks for something"
    return found


@pytest.mark.parametrize("expression", _EXPRESSIONS)
def test_each_figure_and_label_that_is_asked_for_is_exported(expression: str) -> None:
    for selector in _asked(expression):
        assert selector.metric in _LABELS
        labels = selector.grouped | {label for label, _, _ in selector.matchers}
        assert labels <= _LABELS[selector.metric] | _OF_PODS


@pytest.mark.parametrize("expression", _EXPRESSIONS)
def test_what_is_counted_is_asked_for_its_rate_and_what_is_measured_for_itself(expression: str) -> None:
    for selector in _asked(expression):
        counted = selector.metric in _OF_COLLECTORS or selector.metric.endswith(("_total", "_bucket", "_count", "_sum"))
        assert bool(selector.function) == counted


@pytest.mark.parametrize("alert", [rule["alert"] for rule in _RULES])
def test_what_an_alert_counts_is_there_from_the_start(
    alert: str, at_the_start: list[tuple[str, dict[str, str]]]
) -> None:
    for selector in _asked(alert):
        of_services = selector.metric not in _OF_COLLECTORS and not selector.metric.startswith("webstore_operator_")
        if not (of_services and selector.function) or "status" in _LABELS[selector.metric]:
            continue
        there = [labels for name, labels in at_the_start if name == selector.metric]
        assert there, selector.metric
        for label, operator, values in selector.matchers:
            assert operator in ("=", "=~")
            for value in values.split("|"):
                assert value in {labels[label] for labels in there}


@pytest.mark.parametrize(
    "series",
    [
        ("webstore_dead_letters_total", {"service": "customer", "topic": "order-placed"}),
        ("webstore_dead_letters_total", {"service": "shopping-query", "topic": "cart-checked-out"}),
        ("webstore_mails_total", {"outcome": "unknown customer"}),
        ("webstore_spans_total", {"outcome": "failed"}),
        ("webstore_log_lines_total", {"target": "file"}),
        ("webstore_log_lines_lost_total", {"reason": "queue full"}),
        ("webstore_log_lines_lost_total", {"reason": "stdout"}),
        ("webstore_log_lines_lost_total", {"reason": "file"}),
        ("webstore_downstream_calls_total", {"service": "order", "downstream": "product", "outcome": "refused"}),
        ("webstore_projection_lag_seconds", {"service": "shopping-query"}),
    ],
)
def test_the_first_of_its_kind_is_counted_in_a_series_that_is_there(
    series: tuple[str, dict[str, str]], at_the_start: list[tuple[str, dict[str, str]]]
) -> None:
    assert series in at_the_start


def test_a_breaker_that_is_half_open_again_and_again_raises_its_alert_and_one_that_nobody_asks_does_not() -> None:
    state, calls = _EXPRESSIONS["WebStoreBreakerOpen"].split(" and ")
    assert " ".join(state.split()) == "max by (namespace, service, downstream) (webstore_breaker_state) > 0"
    (refused,) = selectors(calls)
    assert refused.metric == "webstore_downstream_calls_total"
    assert refused.matchers == [("outcome", "=~", "failed|refused")]


def test_what_the_collectors_drop_raises_an_alert_and_is_on_the_dashboard() -> None:
    assert {selector.metric for selector in _asked("WebStoreTelemetryLost")} >= COLLECTORS
    lost = {selector.metric for name in _EXPRESSIONS if name.startswith("Lost telemetry") for selector in _asked(name)}
    assert lost >= COLLECTORS


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_to_do_in_a_line(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    for text in (rule["annotations"]["summary"], rule["annotations"]["runbook"]):
        assert text.strip()
        assert "\n" not in text
    grouped = set().union(*(selector.grouped for selector in _asked(rule["alert"])))
    named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    assert named <= grouped, "a label that the expression leaves"


@pytest.mark.parametrize(
    "broken",
    [
        "sum(rate(a[5m])",
        "rate(a)",
        "a >",
        "a b",
        "sum by service (a)",
        "a{b=1}",
        'a{b="1"',
        "a[5m",
        "rate(a[soon])",
        "a)",
        "",
    ],
)
def test_what_is_no_expression_is_seen(broken: str) -> None:
    with pytest.raises(NotPromQL):
        selectors(broken)
