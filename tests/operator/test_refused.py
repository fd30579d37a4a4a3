"""The API server refuses a store that cannot work, and says what to write instead."""

import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.operator.kube import Kube, Object, Refused, path
from tests.operator.process import Rights
from tests.operator.test_desired import specs

pytestmark = pytest.mark.usefixtures("rights")

RETRY = 400, 422


async def dry_run(kube: Kube, spec: Object, name: str = "store") -> Object:
    """What the API server would keep."""
    body = {"apiVersion": "webstore.dev/v1", "kind": "WebStore", "metadata": {"name": name}, "spec": spec}
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    return await kube.request("POST", path("webstores", "default"), params=query, json=body)


REFUSED: list[tuple[Object, str]] = [
    ({"ingress": {"tlsSecret": "tls"}}, "ingress.tlsSecret needs ingress.host"),
    ({"ingress": {"enabled": False, "host": "a.b"}}, "set ingress.enabled: true"),
    ({"gateway": {"parent": {"name": "g"}}, "ingress": {"className": "nginx"}}, "remove ingress.className"),
    ({"config": {"WEBSTORE_DATABASE_PASSWORD": "x"}}, "name a Secret in the field `secret`"),
    ({"config": {"log-level": "x"}}, "WEBSTORE_LOG_LEVEL"),
    ({"config": {"WEBSTORE_PORT": "1"}}, "set by the charts"),
    ({"config": {"HTTPS_PROXY": "http://proxy:3128"}}, "begin with WEBSTORE_ or OTEL_"),
    ({"config": {"OTEL_EXPORTER_OTLP_HEADERS": "x"}}, "headers that carry them"),
    ({"ingress": {"host": "Shop.example.com"}}, "spec.ingress.host"),
    ({"images": {"registry": "registry.example.com/"}}, "spec.images.registry"),
    ({"images": {"pullSecrets": [""]}}, "spec.images.pullSecrets"),
    ({"gateway": {"parent": {"namespace": "gateways"}}}, "write gateway.parent.name too"),
    ({"auth": {"rolesClaim": ""}}, "spec.auth.rolesClaim"),
    ({"services": {"order": {"config": {"API_KEY": "x"}}}}, "name a Secret"),
    ({"services": {"order": {"replicas": 2, "autoscaling": {"max": 3}}}}, "remove replicas"),
    (
        {"services": {"order": {"autoscaling": {"min": 4, "max": 3}, "resources": {"requests": {"cpu": 1}}}}},
        "raise max",
    ),
    (
        {"services": {"order": {"autoscaling": {"max": 3}, "resources": {"requests": {"cpu": 0}}}}},
        "which is 0: write more",
    ),
    (
        {"services": {"order": {"replicas": 17}, "product": {"autoscaling": {"max": 11}}}},
        "at most 30 pods of services at once: lower replicas or autoscaling.max, or use database.external",
    ),
    ({"services": {"order": {"replicas": 0}}}, "greater than or equal to 1"),
    ({"services": {"orders": {}}}, "unknown field"),
    ({"services": {"order": {"resources": {"requests": {"memory": "much"}}}}}, "requests.memory"),
    ({"database": {"external": {"secret": "s"}}}, "write its host too"),
    ({"database": {"external": {"host": "h", "sslMode": "verify-ca"}}}, "needs caSecret"),
    ({"database": {"storage": {"size": "a lot"}}}, "database.storage.size"),
    ({"kafka": {"replicas": 2}}, "1 or 3"),
    ({"kafka": {"external": {"bootstrapServers": "k"}}}, "kafka.external.bootstrapServers"),
    (
        {"kafka": {"external": {"bootstrapServers": "k:1", "securityProtocol": "SASL_SSL"}}},
        "keys username and password",
    ),
    (
        {"kafka": {"external": {"bootstrapServers": "k:1", "secret": "s"}}},
        "set kafka.external.securityProtocol to SASL",
    ),
    ({"kafka": {"external": {"bootstrapServers": "k:1", "caSecret": "s"}}}, "SSL or SASL_SSL"),
    ({"kafka": {"external": {"securityProtocol": "SSL"}}}, "write its bootstrapServers too"),
    ({"tracing": {"external": {"endpoint": "http://z:4318"}}}, "set tracing.enabled: true"),
    ({"tracing": {"gateway": True}}, "tracing.gateway is for the store's own Zipkin"),
    ({"tracing": {"sampling": 1.5}}, "less than or equal to 1"),
    ({"logging": {"external": {"url": "http://e:9200"}}}, "set logging.enabled: true"),
    ({"logging": {"enabled": True, "external": {"secret": "s"}}}, "write its url too"),
    ({"logging": {"indexer": "fluentd"}}, 'supported values: "rsyslog", "logstash"'),
    (
        {"metrics": {"monitors": True}, "ingress": {"controllerNamespace": "traefik"}},
        "needs metrics.namespace, or Prometheus cannot reach the services",
    ),
    ({"tracing": {"host": "z.b"}, "ingress": {"enabled": False}}, "so tracing.host and logging.host would not be used"),
    ({"logging": {"host": "k.b"}, "ingress": {"enabled": False}}, "so tracing.host and logging.host would not be used"),
    ({"metrics": {"labels": {"a label": "x"}}}, "names of labels are letters, digits"),
    ({"metrics": {"labels": {"release": "x y"}}}, "spec.metrics.labels"),
    ({"mail": {"secret": "s"}}, "write mail.host too"),
    ({"mail": {"security": "tls"}}, "write mail.host too"),
    ({"auth": {"mode": "oidc"}}, "auth.issuer"),
    ({"auth": {"issuer": "https://a.b", "audience": "c"}}, "set auth.mode: oidc"),
    ({"deletionPolicy": "Burn"}, 'supported values: "Retain", "Delete"'),
    ({"version": "1.0 or so"}, "spec.version"),
]


@pytest.mark.parametrize(("spec", "said"), REFUSED, ids=[said for _, said in REFUSED])
async def test_a_bad_spec_is_refused_with_what_to_write_instead(kube: Kube, spec: Object, said: str) -> None:
    with pytest.raises(Refused) as refused:
        await dry_run(kube, spec)
    assert refused.value.status in RETRY
    assert said.lower() in str(refused.value).lower()


@pytest.mark.parametrize("name", ["1store", "s" * 37, "my.store"])
async def test_a_name_that_objects_could_not_be_made_of_is_refused(kube: Kube, name: str) -> None:
    with pytest.raises(Refused) as refused:
        await dry_run(kube, {}, name)
    assert "metadata.name" in str(refused.value) or "the name of a WebStore" in str(refused.value)


CHANGES: list[tuple[Object, str]] = [
    ({"database": {"storage": {"size": "5Gi"}}}, "set size: 2Gi"),
    ({"kafka": {"storage": {"className": "fast"}}}, "set size: 2Gi"),
    ({"kafka": {"replicas": 3}}, "set it to 1"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=["database", "kafka", "brokers"])
async def test_what_cannot_be_changed_later_is_refused(kube: Kube, change: Object, said: str) -> None:
    name = f"fixed-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "webstore.dev/v1", "kind": "WebStore", "metadata": {"name": name, "namespace": "default"}}
    await kube.apply({**body, "spec": {"paused": True}})
    try:
        with pytest.raises(Refused) as refused:
            await kube.patch("webstores", "default", name, {"spec": change})
        assert said in str(refused.value)
        external = {"external": {"host": "db"}} if "database" in change else {"external": {"bootstrapServers": "k:1"}}
        (part,) = change
        await kube.patch("webstores", "default", name, {"spec": {part: change[part] | external}})
    finally:
        await kube.delete("webstores", "default", name)


async def test_an_external_database_may_serve_more_pods(kube: Kube) -> None:
    busy = {"order": {"replicas": 100}, "product": {"autoscaling": {"max": 100}}}
    await dry_run(kube, {"services": busy, "database": {"external": {"host": "db"}}})
    await dry_run(kube, {"services": {"order": {"replicas": 16}, "product": {"autoscaling": {"max": 11}}}})


async def test_the_smallest_spec_gets_all_defaults(kube: Kube) -> None:
    kept = await dry_run(kube, {})
    assert kept["spec"]["database"]["storage"]["size"] == "2Gi"
    assert kept["spec"]["deletionPolicy"] == "Retain"
    assert kept["spec"]["services"]["order"] == {"config": {}, "resources": {}}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specs)
async def test_every_spec_that_the_charts_can_render_is_taken(kube: Kube, rights: Rights, spec: dict[str, Any]) -> None:
    await dry_run(kube, spec)
