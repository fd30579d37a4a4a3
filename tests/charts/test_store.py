"""The chart of a whole store."""

import base64
from typing import Any

import pytest
import yaml

from tests.charts.rendering import (
    CHARTS,
    SERVICES,
    SYSTEMS,
    TELEMETRY,
    check,
    containers,
    helm,
    manifest,
    named,
    of_kind,
    render,
    workloads,
)
from webstore_operator.spec import NAME_LENGTH

EVERY_CHART = sorted(path.parent.name for path in CHARTS.glob("*/Chart.yaml"))


@pytest.fixture(scope="module")
def store() -> list[dict[str, Any]]:
    return render()


@pytest.mark.parametrize("chart", EVERY_CHART)
def test_helm_finds_nothing_wrong_with_a_chart(chart: str) -> None:
    assert "0 chart(s) failed" in helm("lint", "--quiet", CHARTS / chart) or not helm("lint", "--quiet", CHARTS / chart)


@pytest.mark.parametrize("chart", EVERY_CHART)
def test_every_chart_refuses_values_that_it_does_not_know(chart: str) -> None:
    schema = CHARTS / chart / "values.schema.json"
    assert yaml.safe_load(schema.read_text())["additionalProperties"] is False


def test_the_services_schemas_are_the_same() -> None:
    assert len({(CHARTS / service / "values.schema.json").read_text() for service in SERVICES}) == 1


def test_what_a_chart_that_is_installed_alone_takes_for_global_is_what_the_chart_of_all_has() -> None:
    template = (CHARTS / "webstore-lib/templates/_defaults.tpl").read_text()
    defaults = template.split('{{- define "webstore.defaults" -}}')[1].split("{{- end }}")[0]
    assert yaml.safe_load(defaults) == yaml.safe_load((CHARTS / "webstore/values.yaml").read_text())["global"]


def test_nothing_needs_to_be_set(store: list[dict[str, Any]]) -> None:
    check(store)
    made = {item["metadata"]["name"] for item in workloads(store)}
    assert made == {f"store-{part}" for part in (*SERVICES, *SYSTEMS)}


@pytest.mark.parametrize(("indexer", "other"), [("logstash", "rsyslog"), ("rsyslog", "logstash")])
def test_all_can_be_on_with_one_indexer(indexer: str, other: str) -> None:
    objects = render({"global": {"tracing": {"enabled": True}, "logging": {"enabled": True, "indexer": indexer}}})
    check(objects)
    made = {item["metadata"]["name"] for item in workloads(objects)}
    assert made == {f"store-{part}" for part in {*SERVICES, *SYSTEMS, *TELEMETRY} - {other}}


def test_two_stores_in_one_namespace_share_nothing(store: list[dict[str, Any]]) -> None:
    other = render(release="other")
    names = {(item["kind"], item["metadata"]["name"]) for item in store}
    assert not names & {(item["kind"], item["metadata"]["name"]) for item in other}
    pods = [workload["spec"]["template"]["metadata"]["labels"] for workload in workloads(other)]
    for service in of_kind(store, "Service"):
        assert not [labels for labels in pods if service["spec"]["selector"].items() <= labels.items()]


@pytest.mark.parametrize("indexer", ["rsyslog", "logstash"])
def test_the_longest_name_of_a_store_is_none_too_long_for_what_is_made_of_it(indexer: str) -> None:
    everything = {
        "kafka": {"replicas": 3},
        "tracing": {"enabled": True},
        "logging": {"enabled": True, "indexer": indexer},
        "metrics": {"monitors": True},
    }
    # A Job and a StatefulSet's revision have 11 characters more, and their names are labels, of 63.
    longest = {"CronJob": 52, "StatefulSet": 52}
    for item in render({"global": everything}, release="s" * NAME_LENGTH):
        assert len(item["metadata"]["name"]) <= longest.get(item["kind"], 63)


@pytest.mark.parametrize("service", SERVICES)
def test_a_release_of_a_parts_name_is_a_store_like_any_other(service: str) -> None:
    check(render(release=service), service)


def test_the_gateway_leads_to_each_service_by_its_prefix(store: list[dict[str, Any]]) -> None:
    paths = {
        path["path"]: (path["pathType"], path["backend"]["service"]["name"])
        for ingress in of_kind(store, "Ingress")
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    }
    assert paths == {f"/{service}": ("Prefix", f"store-{service}") for service in SERVICES}


def test_with_a_gateway_routes_take_the_place_of_ingresses() -> None:
    parent = {"name": "entrance", "namespace": "gateways", "sectionName": "https"}
    objects = render({"global": {"gateway": {"parent": parent}, "ingress": {"host": "shop.example.com"}}})
    check(objects)
    assert not of_kind(objects, "Ingress")
    routes = of_kind(objects, "HTTPRoute")
    assert len(routes) == len(SERVICES)
    assert all(route["spec"]["parentRefs"] == [parent] for route in routes)
    assert all(route["spec"]["hostnames"] == ["shop.example.com"] for route in routes)


def test_tls_is_for_the_host() -> None:
    objects = render({"global": {"ingress": {"host": "shop.example.com", "tlsSecret": "shop-tls"}}})
    for ingress in of_kind(objects, "Ingress"):
        assert ingress["spec"]["tls"] == [{"secretName": "shop-tls", "hosts": ["shop.example.com"]}]
        assert ingress["spec"]["rules"][0]["host"] == "shop.example.com"


def test_without_an_ingress_nothing_leads_in() -> None:
    objects = render({"global": {"ingress": {"enabled": False}}})
    assert not of_kind(objects, "Ingress", "HTTPRoute")


def lets_in(values: dict[str, Any], port: int | str, namespace: str) -> bool:
    """Whether a service's policy lets a pod of another namespace connect to this port."""
    label = {"kubernetes.io/metadata.name": namespace}
    rules = named(render({"global": values}), "NetworkPolicy", "store-order")["spec"]["ingress"]
    return any(
        {"port": port} in rule["ports"]
        and ("from" not in rule or {"namespaceSelector": {"matchLabels": label}} in rule["from"])
        for rule in rules
    )


def test_prometheus_reaches_the_figures_of_services_and_collectors_from_its_namespace_alone() -> None:
    closed = {"ingress": {"controllerNamespace": "traefik"}, "tracing": {"enabled": True}}
    watched = {**closed, "metrics": {"monitors": True, "namespace": "monitoring"}}
    for port in ("http", 8888):
        assert not lets_in(closed, port, "monitoring")
        assert lets_in(watched, port, "monitoring")
        assert not lets_in(watched, port, "elsewhere")
    assert not lets_in(watched, 8888, "traefik")


def test_prometheus_reaches_them_from_anywhere_where_nothing_is_said() -> None:
    assert lets_in({"metrics": {"monitors": True}, "logging": {"enabled": True}}, 8888, "anywhere")
    assert not lets_in({"logging": {"enabled": True}}, 8888, "anywhere")
    assert not lets_in({"metrics": {"monitors": True}}, 8888, "anywhere"), "there is no collector"


def test_the_collectors_port_is_the_one_that_the_policy_names() -> None:
    order = named(render({"global": {"tracing": {"enabled": True}}}), "Deployment", "store-order")
    [collector] = [container for container in containers(order) if container["name"] == "telemetry"]
    assert {"name": "telemetry", "containerPort": 8888} in collector["ports"]


EXTERNAL = {
    "database": ({"external": {"host": "db.example.com", "secret": "passwords"}}, "postgres"),
    "kafka": ({"external": {"bootstrapServers": "a.example.com:9092"}}, "kafka"),
    "mail": ({"host": "mail.example.com"}, "mailpit"),
}


@pytest.mark.parametrize("system", EXTERNAL)
def test_what_is_external_is_not_started(system: str) -> None:
    values, part = EXTERNAL[system]
    objects = render({"global": {system: values}})
    check(objects)
    assert not [item for item in objects if item["metadata"]["labels"]["app.kubernetes.io/name"] == part]


def test_kafka_of_three_brokers_is_a_quorum_that_outlives_one() -> None:
    kafka = named(render({"global": {"kafka": {"replicas": 3}}}), "StatefulSet", "store-kafka")
    [container] = containers(kafka)
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    voters = [f"{number}@store-kafka-{number}.store-kafka-nodes.shop.svc:9093" for number in range(3)]
    assert kafka["spec"]["replicas"] == 3
    assert variables["KAFKA_CONTROLLER_QUORUM_VOTERS"] == ",".join(voters)
    assert (variables["KAFKA_DEFAULT_REPLICATION_FACTOR"], variables["KAFKA_MIN_INSYNC_REPLICAS"]) == ("3", "2")


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_the_deletion_policy_is_the_volumes_and_the_passwords(policy: str) -> None:
    objects = render({"global": {"deletionPolicy": policy}})
    for item in of_kind(objects, "StatefulSet"):
        retention = item["spec"]["persistentVolumeClaimRetentionPolicy"]
        assert retention == {"whenDeleted": policy, "whenScaled": "Retain"}
    kept = named(objects, "Secret", "store-credentials")["metadata"].get("annotations", {})
    assert kept.get("helm.sh/resource-policy") == ("keep" if policy == "Retain" else None)


def test_what_a_claim_is_made_from_does_not_change_with_the_version(store: list[dict[str, Any]]) -> None:
    newer = render({"global": {"version": "9.9.9"}})
    for item in of_kind(store, "StatefulSet"):
        fixed = ("volumeClaimTemplates", "serviceName", "selector")
        other = named(newer, "StatefulSet", item["metadata"]["name"])
        assert {part: item["spec"][part] for part in fixed} == {part: other["spec"][part] for part in fixed}


def test_an_autoscaled_service_leaves_its_replicas_to_the_autoscaler() -> None:
    objects = render({"product": {"autoscaling": {"min": 2, "max": 6}}})
    check(objects)
    assert "replicas" not in named(objects, "Deployment", "store-product")["spec"]
    scaler = named(objects, "HorizontalPodAutoscaler", "store-product")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    assert scaler["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}


def test_a_roll_out_adds_a_pod_to_each_four_and_takes_none_away() -> None:
    for deployment in of_kind(render(), "Deployment"):
        if deployment["metadata"]["labels"]["app.kubernetes.io/component"] == "service":
            assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}


def test_images_come_from_the_registry_and_version_that_are_set() -> None:
    objects = render({"global": {"version": "1.2.3", "images": {"registry": "registry.example.com/team"}}})
    for service in SERVICES:
        images = {item["image"] for item in containers(named(objects, "Deployment", f"store-{service}"))}
        assert f"registry.example.com/team/webstore/{service}:1.2.3" in images


def test_a_pod_has_time_to_finish_what_it_is_told_to_finish() -> None:
    objects = render({"order": {"config": {"WEBSTORE_SHUTDOWN_SECONDS": 41.5}}})
    pod = named(objects, "Deployment", "store-order")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= 5 + 42


def test_resources_are_kept_where_only_some_are_set() -> None:
    objects = render({"customer": {"resources": {"requests": {"cpu": "200m"}}}})
    [customer] = named(objects, "Deployment", "store-customer")["spec"]["template"]["spec"]["containers"]
    assert customer["resources"]["requests"]["cpu"] == "200m"
    assert "memory" in customer["resources"]["requests"]
    assert "memory" in customer["resources"]["limits"]


def test_the_credentials_are_long_and_no_two_are_the_same(store: list[dict[str, Any]]) -> None:
    values = named(store, "Secret", "store-credentials")["data"].values()
    assert len(set(values)) == len(values)
    assert all(len(base64.b64decode(value)) >= 32 for value in values)


def test_given_credentials_are_used_and_none_are_made() -> None:
    objects = render({"global": {"credentialsSecret": "given"}})
    assert not of_kind(objects, "Secret")
    assert "store-credentials" not in manifest({"global": {"credentialsSecret": "given"}})
