"""Each part installed by itself, against a database and a Kafka that are given."""

from typing import Any

import pytest

from tests.charts.rendering import (
    GIVEN,
    SERVICES,
    SYSTEMS,
    TELEMETRY,
    check,
    manifest,
    named,
    of_kind,
    render,
    workloads,
)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("release", ["its own name", "blue"])
def test_a_service_stands_alone(service: str, release: str) -> None:
    release = service if release == "its own name" else release
    objects = render(GIVEN, service, release)
    check(objects, release)
    [deployment] = workloads(objects)
    assert deployment["metadata"]["name"] == (service if release == service else f"{release}-{service}")


@pytest.mark.parametrize("system", [*SYSTEMS, *TELEMETRY])
def test_a_system_stands_alone(system: str) -> None:
    logs = {"enabled": True, "indexer": "logstash" if system == "logstash" else "rsyslog"}
    on = {"credentialsSecret": "given", "tracing": {"enabled": True}, "logging": logs}
    objects = render({"global": on}, system, system)
    check(objects, system)
    assert [item["metadata"]["name"] for item in workloads(objects)] == [system]


def settings(service: str, release: str, **values: Any) -> dict[str, str]:
    """What is in the ConfigMap of a service that is installed alone."""
    [configmap] = of_kind(render({**GIVEN, **values}, service, release), "ConfigMap")
    data: dict[str, str] = configmap["data"]
    return data


def test_a_service_is_at_the_database_and_kafka_that_are_given() -> None:
    told = settings("shopping-command", "shopping-command")
    assert told["WEBSTORE_DATABASE_URL"] == (
        "postgresql://shopping_command@db.example.com:5432/shopping_command?sslmode=require"
    )
    assert told["WEBSTORE_KAFKA_BOOTSTRAP_SERVERS"] == "kafka.example.com:9092"


def test_services_that_are_releases_of_their_own_names_find_each_other() -> None:
    told = settings("shopping-query", "shopping-query")
    for called in ("order", "shopping-command"):
        [service] = of_kind(render(GIVEN, called, called), "Service")
        variable = f"WEBSTORE_{called.replace('-', '_').upper()}_URL"
        assert told[variable] == f"http://{service['metadata']['name']}:8080"


def test_where_another_service_is_can_be_said() -> None:
    told = settings("order", "order", config={"WEBSTORE_PRODUCT_URL": "http://product.elsewhere:8080"})
    assert told["WEBSTORE_PRODUCT_URL"] == "http://product.elsewhere:8080"


def test_without_credentials_no_token_is_asked_for() -> None:
    assert "INTERNAL_TOKEN" not in manifest(GIVEN, "order", "order")
    given = {"global": {**GIVEN["global"], "credentialsSecret": "given"}}
    [deployment] = workloads(render(given, "order", "order"))
    process = deployment["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "given", "key": "internal-token"} in [
        variable["valueFrom"]["secretKeyRef"] for variable in process["env"]
    ]


def test_a_service_lets_in_the_services_that_call_it_whatever_release_they_are_of() -> None:
    given = {"global": {**GIVEN["global"], "ingress": {"controllerNamespace": "traefik"}}}
    [caller] = workloads(render(given, "shopping-query", "blue"))
    labels = caller["spec"]["template"]["metadata"]["labels"]
    policy = named(render(given, "order", "order"), "NetworkPolicy", "order")
    [rule] = policy["spec"]["ingress"]
    selectors = [peer["podSelector"]["matchLabels"] for peer in rule["from"] if "podSelector" in peer]
    assert any(selector.items() <= labels.items() for selector in selectors)
