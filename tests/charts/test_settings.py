"""What each pod is told: what it needs, in the right place, and a change of it rolls exactly the pods that read it."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.charts.rendering import SERVICES, containers, named, of_kind, render, workloads
from webstore_chassis.settings import Settings
from webstore_customer.app import CustomerSettings
from webstore_order.app import OrderSettings
from webstore_product.app import ProductSettings
from webstore_shopping_command.app import ShoppingCommandSettings
from webstore_shopping_query.app import ShoppingQuerySettings

MODELS: dict[str, type[Settings]] = {
    "customer": CustomerSettings,
    "product": ProductSettings,
    "order": OrderSettings,
    "shopping-command": ShoppingCommandSettings,
    "shopping-query": ShoppingQuerySettings,
}
FULL: dict[str, Any] = {
    "global": {
        "database": {"external": {"host": "db", "secret": "db", "sslMode": "verify-full", "caSecret": "db-ca"}},
        "kafka": {
            "external": {
                "bootstrapServers": "k:9093",
                "securityProtocol": "SASL_SSL",
                "secret": "kafka",
                "caSecret": "kafka-ca",
            }
        },
        "mail": {"host": "mail", "port": 587, "security": "starttls", "secret": "mail"},
        "auth": {"mode": "oidc", "issuer": "https://login.example.com/realms/shop", "audience": "shop"},
        "config": {"WEBSTORE_LOG_LEVEL": "DEBUG", "WEBSTORE_MAX_BODY_BYTES": 2097152},
    },
    "order": {"config": {"WEBSTORE_LOG_LEVEL": "WARNING"}},
}


def settings(objects: list[dict[str, Any]], service: str) -> dict[str, str]:
    """What is in a service's ConfigMap."""
    data: dict[str, str] = named(objects, "ConfigMap", f"store-{service}")["data"]
    return data


def secrets(objects: list[dict[str, Any]], service: str) -> dict[str, tuple[str, str]]:
    """Variables that a service takes from Secrets: name → (Secret, key)."""
    deployment = named(objects, "Deployment", f"store-{service}")
    process = deployment["spec"]["template"]["spec"]["containers"][0]
    references = {item["name"]: item.get("valueFrom", {}).get("secretKeyRef") for item in process["env"]}
    return {name: (value["name"], value["key"]) for name, value in references.items() if value}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("values", [{}, FULL], ids=["defaults", "everything external"])
def test_a_service_accepts_its_settings(service: str, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(values)
    for name, value in settings(objects, service).items():
        monkeypatch.setenv(name, __file__ if name.endswith("_FILE") else value)
    for name in secrets(objects, service):
        monkeypatch.setenv(name, "from a Secret")
    loaded = MODELS[service]()  # type: ignore[call-arg]
    assert loaded.host == "0.0.0.0"
    assert not loaded.migrate_on_start


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("values", [{}, FULL], ids=["defaults", "everything external"])
def test_a_service_is_told_nothing_that_it_does_not_read(service: str, values: dict[str, Any]) -> None:
    objects = render(values)
    known = {f"WEBSTORE_{name.upper()}" for name in MODELS[service].model_fields}
    assert settings(objects, service).keys() | secrets(objects, service).keys() <= known


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_sees_its_own_password_only(service: str) -> None:
    found = secrets(render(), service)
    assert found == {
        "WEBSTORE_DATABASE_PASSWORD": ("store-credentials", f"{service}-password"),
        "WEBSTORE_INTERNAL_TOKEN": ("store-credentials", "internal-token"),
    }


def test_only_customer_knows_the_mail_server() -> None:
    objects = render(FULL)
    for service in SERVICES:
        told = settings(objects, service).keys() | secrets(objects, service).keys()
        assert any(name.startswith("WEBSTORE_SMTP_") for name in told) == (service == "customer")


def test_secrets_are_in_no_configmap_and_no_argument() -> None:
    objects = render(FULL)
    for item in of_kind(objects, "ConfigMap"):
        names = [name for name in item["data"] if "PASSWORD" in name or "TOKEN" in name]
        assert not names
    for workload in workloads(objects):
        for container in containers(workload):
            for variable in container.get("env", []):
                if any(word in variable["name"] for word in ("PASSWORD", "TOKEN", "USERNAME")):
                    assert "secretKeyRef" in variable.get("valueFrom", {}) or variable["name"].endswith("_FILE")


def test_certificates_of_authorities_are_where_the_settings_say() -> None:
    objects = render(FULL)
    for service in SERVICES:
        told = settings(objects, service)
        url = parse_qs(urlsplit(told["WEBSTORE_DATABASE_URL"]).query)
        process = named(objects, "Deployment", f"store-{service}")["spec"]["template"]["spec"]["containers"][0]
        mounted = {f"{mount['mountPath']}/ca.crt" for mount in process["volumeMounts"] if "-ca" in mount["name"]}
        assert {*url["sslrootcert"], told["WEBSTORE_KAFKA_CA_FILE"]} == mounted


def test_a_services_own_setting_wins_over_the_shared_one() -> None:
    objects = render(FULL)
    assert settings(objects, "order")["WEBSTORE_LOG_LEVEL"] == "WARNING"
    assert settings(objects, "product")["WEBSTORE_LOG_LEVEL"] == "DEBUG"


def test_whole_numbers_are_written_whole() -> None:
    assert settings(render(FULL), "product")["WEBSTORE_MAX_BODY_BYTES"] == "2097152"


def test_the_migration_reads_what_the_service_reads() -> None:
    for workload in of_kind(render(FULL), "Deployment"):
        pod = workload["spec"]["template"]["spec"]
        migrations = [item for item in pod["initContainers"] if item["name"] == "migrate"]
        for part in ("image", "env", "envFrom", "volumeMounts"):
            assert [item[part] for item in migrations] == [pod["containers"][0][part]]


CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "one service's setting": ({"order": {"config": {"WEBSTORE_LOG_LEVEL": "DEBUG"}}}, {"store-order"}),
    "everybody's setting": (
        {"global": {"config": {"WEBSTORE_LOG_LEVEL": "DEBUG"}}},
        {f"store-{service}" for service in SERVICES},
    ),
    "the sender of mails": ({"global": {"mail": {"from": "shop@example.com"}}}, {"store-customer"}),
    "the credentials": (
        {"global": {"credentialsRevision": "2"}},
        {f"store-{part}" for part in (*SERVICES, "postgres")},
    ),
    "the host": ({"global": {"ingress": {"host": "shop.example.com"}}}, set()),
    "the number of pods": ({"order": {"replicas": 3}}, set()),
    "the network policies": ({"global": {"networkPolicies": False}}, set()),
    "one service's resources": ({"product": {"resources": {"requests": {"cpu": "70m"}}}}, {"store-product"}),
    "the version": ({"global": {"version": "0.1.1"}}, {f"store-{service}" for service in SERVICES}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_rolls_exactly_the_pods_that_read_it(change: str) -> None:
    values, expected = CHANGES[change]

    def templates(objects: list[dict[str, Any]]) -> dict[str, Any]:
        return {item["metadata"]["name"]: item["spec"]["template"] for item in workloads(objects)}

    before, after = templates(render()), templates(render(values))
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == expected
