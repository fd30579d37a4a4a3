"""Values that cannot work are refused before anything is installed, with a sentence that says what to write."""

from typing import Any

import pytest

from tests.charts.rendering import GIVEN, Refused, manifest
from webstore_operator.spec import NAME_LENGTH

# What no schema can say in words.
TOGETHER: dict[str, tuple[dict[str, Any], str]] = {
    "TLS without a host": (
        {"global": {"ingress": {"tlsSecret": "tls"}}},
        "global.ingress.tlsSecret needs global.ingress.host: a certificate is for a name. Write `host: ",
    ),
    "TLS at a Gateway's route": (
        {"global": {"ingress": {"tlsSecret": "tls", "host": "a.b"}, "gateway": {"parent": {"name": "entrance"}}}},
        "the Gateway's listener holds the certificate. Leave tlsSecret empty.",
    ),
    "a Gateway without a name": (
        {"global": {"gateway": {"parent": {"namespace": "gateways"}}}},
        "global.gateway.parent needs a name: write the Gateway's",
    ),
    "an external database without passwords": (
        {"global": {"database": {"external": {"host": "db"}}}},
        "needs global.database.external.secret: write the name of a Secret with the keys customer-password, ",
    ),
    "passwords of no database": (
        {"global": {"database": {"external": {"secret": "db"}}}},
        "global.database.external needs a host",
    ),
    "an authority to verify that is not given": (
        {"global": {"database": {"external": {"host": "db", "secret": "db", "sslMode": "verify-ca"}}}},
        "sslMode verify-ca needs global.database.external.caSecret: write the name of a Secret with the key ca.crt",
    ),
    "SASL without a user": (
        {"global": {"kafka": {"external": {"bootstrapServers": "k:9092", "securityProtocol": "SASL_SSL"}}}},
        "SASL_SSL needs global.kafka.external.secret: write the name of a Secret with the keys username and password.",
    ),
    "a user without SASL": (
        {"global": {"kafka": {"external": {"bootstrapServers": "k:9092", "secret": "kafka"}}}},
        "not used with securityProtocol PLAINTEXT: write SASL_SSL or SASL_PLAINTEXT, or leave secret empty.",
    ),
    "an authority without TLS": (
        {"global": {"kafka": {"external": {"bootstrapServers": "k:9092", "caSecret": "ca"}}}},
        "caSecret is not used with securityProtocol PLAINTEXT: write SSL or SASL_SSL",
    ),
    "a protocol for no brokers": (
        {"global": {"kafka": {"external": {"securityProtocol": "SSL"}}}},
        "global.kafka.external needs bootstrapServers: write `bootstrapServers: kafka-1.example.com:9092`",
    ),
    "Prometheus shut out": (
        {"global": {"metrics": {"monitors": True}, "ingress": {"controllerNamespace": "traefik"}}},
        "needs global.metrics.namespace, or Prometheus cannot reach the services: write the namespace it runs in.",
    ),
    "a user of no Elasticsearch": (
        {"global": {"logging": {"external": {"secret": "elastic"}}}},
        "global.logging.external.secret needs global.logging.external.url",
    ),
    "a login at no mail server": (
        {"global": {"mail": {"secret": "mail"}}},
        "global.mail.secret needs global.mail.host: write the mail server's name",
    ),
    "OIDC without an issuer": (
        {"global": {"auth": {"mode": "oidc", "audience": "shop"}}},
        "global.auth.mode oidc needs global.auth.issuer and global.auth.audience: write the issuer's URL",
    ),
    "OIDC without an audience": (
        {"global": {"auth": {"mode": "oidc", "issuer": "https://login.example.com"}}},
        "global.auth.mode oidc needs global.auth.issuer and global.auth.audience",
    ),
    "an issuer that nobody asks": (
        {"global": {"auth": {"issuer": "https://login.example.com"}}},
        "not used with mode header, which believes every caller: write `mode: oidc`",
    ),
    "fewer pods at most than at least": (
        {"shoppingQuery": {"autoscaling": {"min": 4, "max": 2}}},
        "shoppingQuery.autoscaling.min 4 is above max 2: write `autoscaling: {min: 2, max: 4}`.",
    ),
    "scaling by a share of nothing": (
        {"product": {"autoscaling": {"min": 1, "max": 2}, "resources": {"requests": {"cpu": None}}}},
        "product.autoscaling needs product.resources.requests.cpu, of which it is a share: write `resources: ",
    ),
    "more pods than the store's own database serves": (
        {"order": {"replicas": 17}, "product": {"autoscaling": {"min": 1, "max": 11}}},
        "at most 30 pods of services at once, and these are up to 31: lower replicas or autoscaling.max, raise ",
    ),
    "a password among the settings": (
        {"global": {"config": {"WEBSTORE_KAFKA_PASSWORD": "x"}}},
        "global.config.WEBSTORE_KAFKA_PASSWORD looks like a secret, and ConfigMaps are no place for one: put it into",
    ),
    "a token among a service's settings": (
        {"order": {"config": {"WEBSTORE_INTERNAL_TOKEN": "x"}}},
        "order.config.WEBSTORE_INTERNAL_TOKEN looks like a secret",
    ),
    "headers, which carry tokens": (
        {"global": {"config": {"OTEL_EXPORTER_OTLP_HEADERS": "x"}}},
        "global.config.OTEL_EXPORTER_OTLP_HEADERS looks like a secret",
    ),
    "a setting that is the chart's": (
        {"customer": {"config": {"WEBSTORE_PORT": "80"}}},
        "customer.config.WEBSTORE_PORT is set by the chart, whose probes and Services rest on it: leave it out.",
    ),
}


@pytest.mark.parametrize("mistake", TOGETHER)
def test_values_that_do_not_go_together_are_refused_with_what_to_write(mistake: str) -> None:
    values, message = TOGETHER[mistake]
    with pytest.raises(Refused) as refused:
        manifest(values)
    assert message in str(refused.value)


def test_as_many_pods_as_the_database_serves_are_taken() -> None:
    assert manifest({"order": {"replicas": 16}, "product": {"autoscaling": {"min": 1, "max": 11}}})
    busy = {"order": {"replicas": 60}}
    assert manifest({**busy, "global": {"database": GIVEN["global"]["database"]}})
    assert manifest({**busy, "postgres": {"settings": {"max_connections": 1100}}})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Refused) as refused:
        manifest({"global": {"ingress": {"tlsSecret": "tls"}, "mail": {"secret": "mail"}}})
    assert "tlsSecret needs" in str(refused.value)
    assert "mail.secret needs" in str(refused.value)


def test_a_release_whose_name_is_too_long_is_refused() -> None:
    with pytest.raises(Refused, match="too long: choose one of at most 36"):
        manifest(release="s" * (NAME_LENGTH + 1))
    assert manifest(release="s" * NAME_LENGTH)


# What a schema says: the path of the value, and what is wrong with it.
BY_THEMSELVES: dict[str, tuple[dict[str, Any], str]] = {
    "a section that is not there": ({"produkt": {}}, "at '': additional properties 'produkt' not allowed"),
    "a word spelled wrong": ({"global": {"ingres": {}}}, "at '/global': additional properties 'ingres' not allowed"),
    "a service's value that is not there": ({"order": {"replica": 2}}, "at '': additional properties 'replica' not"),
    "no pods": ({"order": {"replicas": 0}}, "at '/replicas': minimum: got 0, want 1"),
    "two brokers": ({"global": {"kafka": {"replicas": 2}}}, "at '/global/kafka/replicas': value must be one of 1, 3"),
    "a text for a number": ({"global": {"mail": {"port": "smtp"}}}, "at '/global/mail/port': got string, want integer"),
    "a port that is none": ({"global": {"mail": {"port": 70000}}}, "at '/global/mail/port': maximum: got 70,000"),
    "a share above one": ({"global": {"tracing": {"sampling": 2}}}, "at '/global/tracing/sampling': maximum: got 2"),
    "a mode that is none": ({"global": {"auth": {"mode": "basic"}}}, "must be one of 'header', 'oidc'"),
    "an indexer that is none": ({"global": {"logging": {"indexer": "fluentd"}}}, "one of 'rsyslog', 'logstash'"),
    "a policy that is none": ({"global": {"deletionPolicy": "Keep"}}, "must be one of 'Retain', 'Delete'"),
    "a URL without its scheme": (
        {"global": {"tracing": {"external": {"endpoint": "host:4318"}}}},
        "at '/global/tracing/external/endpoint': 'host:4318' does not match pattern",
    ),
    "brokers without a port": (
        {"global": {"kafka": {"external": {"bootstrapServers": "kafka"}}}},
        "at '/global/kafka/external/bootstrapServers': 'kafka' does not match pattern",
    ),
    "a size without a unit that is known": (
        {"global": {"database": {"storage": {"size": "2 GB"}}}},
        "at '/global/database/storage/size': '2 GB' does not match pattern",
    ),
    "a host with its scheme": (
        {"global": {"ingress": {"host": "https://shop.example.com"}}},
        "at '/global/ingress/host': 'https://shop.example.com' does not match pattern",
    ),
    "a setting of a lower-case name": (
        {"global": {"config": {"log_level": "DEBUG"}}},
        "invalid propertyName 'log_level'",
    ),
    "a setting that is a list": (
        {"global": {"config": {"WEBSTORE_X": []}}},
        "at '/global/config/WEBSTORE_X': got array",
    ),
    "half an autoscaler": ({"order": {"autoscaling": {"max": 3}}}, "properties 'min' required, if 'max' exists"),
    "a quantity that is none": (
        {"order": {"resources": {"requests": {"memory": "lots"}}}},
        "at '/resources/requests/memory': 'lots' does not match pattern",
    ),
    "an image without a name": ({"postgres": {"image": ""}}, "at '/image': '' does not match pattern"),
    "a heap without a unit": ({"kafka": {"heap": "512"}}, "at '/heap': '512' does not match pattern"),
    "no mail kept": ({"mailpit": {"keep": 0}}, "at '/keep': minimum: got 0, want 1"),
}


@pytest.mark.parametrize("mistake", BY_THEMSELVES)
def test_a_value_that_is_wrong_by_itself_is_refused_with_its_path(mistake: str) -> None:
    values, message = BY_THEMSELVES[mistake]
    with pytest.raises(Refused) as refused:
        manifest(values)
    assert message in str(refused.value)


def test_a_mistake_is_said_once() -> None:
    with pytest.raises(Refused) as refused:
        manifest({"global": {"ingres": {}}})
    assert str(refused.value).count("ingres") == 1


ALONE: dict[str, tuple[dict[str, Any], str]] = {
    "no database": (
        {},
        "global.database.external.host is empty, and order is installed alone: write the PostgreSQL server's",
    ),
    "no Kafka": (
        {},
        "global.kafka.external.bootstrapServers is empty, and order is installed alone: write the brokers'",
    ),
    "no secret between the services": (
        {"global": {**GIVEN["global"], "auth": {"mode": "oidc", "issuer": "https://a.b", "audience": "shop"}}},
        "needs global.credentialsSecret where a service is installed alone: write the name of a Secret with the key",
    ),
    "a word spelled wrong": (
        {"global": {**GIVEN["global"], "ingres": {}}},
        "at '/global': additional properties 'ingres' not allowed",
    ),
}


@pytest.mark.parametrize("mistake", ALONE)
def test_a_service_alone_says_what_it_must_be_given(mistake: str) -> None:
    values, message = ALONE[mistake]
    with pytest.raises(Refused) as refused:
        manifest(values, "order", "order")
    assert message in str(refused.value)
