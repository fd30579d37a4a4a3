"""Whatever values are right, what comes out is right."""

import json
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.charts.rendering import SERVICES, check, containers, named, of_kind, render, template, workloads

# Each example is a run of Helm, of which shrinking would take hundreds.
MANY = settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
HOSTS = st.from_regex(r"([a-z][a-z0-9]{0,8}\.){1,3}example", fullmatch=True)
PORTS = st.integers(1, 65535)
SIZES = st.from_regex(r"[1-9][0-9]{0,2}(Mi|Gi)", fullmatch=True)
# Text that YAML, Go's templates and environment variables might each misread.
ODD = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.sampled_from(
        ["", "yes", "null", "~", "0x1F", "1e6", "{{ .Values }}", '"', "'", "a: b", "# c", "$(HOME)", "%", "\\"]
    ),
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=30),
)
CONFIG = st.dictionaries(st.from_regex(r"WEBSTORE_[A-Z]{1,3}_[A-Z0-9]{1,8}", fullmatch=True), ODD, max_size=4)
AUTOSCALING = st.just({}) | st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(1, 100)).map(
    lambda three: {"min": three[0], "max": three[0] + three[1], "cpu": three[2]}
)
SERVICE = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(1, 6),
        "autoscaling": AUTOSCALING,
        "config": CONFIG,
        "resources": st.fixed_dictionaries({"limits": st.fixed_dictionaries({"memory": SIZES})}),
    },
)


@st.composite
def entrances(draw: st.DrawFn) -> dict[str, Any]:
    """`ingress` and `gateway`."""
    host = draw(st.just("") | HOSTS)
    ingress = {"enabled": draw(st.booleans()), "host": host, "className": draw(st.just("") | NAMES)}
    ingress |= {"controllerNamespace": draw(st.just("") | NAMES)}
    ingress |= {
        "annotations": draw(st.dictionaries(NAMES.map("example.com/{}".format), st.text("a:{} \"'#", max_size=9)))
    }
    if draw(st.booleans()):
        return {
            "ingress": ingress,
            "gateway": {"parent": {"name": draw(NAMES), "namespace": draw(st.just("") | NAMES)}},
        }
    return {"ingress": ingress | {"tlsSecret": draw(st.just("") | NAMES) if host else ""}}


@st.composite
def kafkas(draw: st.DrawFn) -> dict[str, Any]:
    """`kafka`."""
    own = {
        "replicas": draw(st.sampled_from([1, 3])),
        "storage": {"size": draw(SIZES), "className": draw(st.just("") | NAMES)},
    }
    protocol = draw(st.sampled_from(["", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]))
    if not protocol:
        return own
    servers = ",".join(
        f"{host}:{port}" for host, port in draw(st.lists(st.tuples(HOSTS, PORTS), min_size=1, max_size=3))
    )
    external = {"bootstrapServers": servers, "securityProtocol": protocol}
    external |= {"secret": draw(NAMES) if protocol.startswith("SASL") else ""}
    return own | {"external": external | {"caSecret": draw(st.just("") | NAMES) if protocol.endswith("SSL") else ""}}


@st.composite
def databases(draw: st.DrawFn) -> dict[str, Any]:
    """`database`."""
    if draw(st.booleans()):
        return {"storage": {"size": draw(SIZES)}}
    mode = draw(st.sampled_from(["disable", "require", "verify-ca", "verify-full"]))
    authority = draw(NAMES) if mode == "verify-ca" else draw(st.just("") | NAMES)
    given = {"host": draw(HOSTS), "port": draw(PORTS), "secret": draw(NAMES)}
    return {"external": given | {"sslMode": mode, "caSecret": authority}}


MAIL = st.just({}) | st.fixed_dictionaries({"host": HOSTS, "port": PORTS, "secret": st.just("") | NAMES})
AUTH = st.just({}) | HOSTS.map(lambda host: {"mode": "oidc", "issuer": f"https://{host}/realm", "audience": "shop"})


@st.composite
def stores(draw: st.DrawFn) -> dict[str, Any]:
    """Values of a whole store."""
    shared = {
        **draw(entrances()),
        "kafka": draw(kafkas()),
        "database": draw(databases()),
        "mail": draw(MAIL),
        "auth": draw(AUTH),
        "config": draw(CONFIG),
        "tracing": {
            "enabled": (traced := draw(st.booleans())),
            "gateway": traced and draw(st.booleans()),
            "sampling": draw(st.floats(0, 1, width=16)),
        },
        "logging": {"enabled": draw(st.booleans()), "indexer": draw(st.sampled_from(["rsyslog", "logstash"]))},
        "networkPolicies": draw(st.booleans()),
        "deletionPolicy": draw(st.sampled_from(["Retain", "Delete"])),
        "credentialsSecret": draw(st.just("") | NAMES),
        "images": {"pullSecrets": draw(st.lists(NAMES, max_size=2))},
    }
    services = ["customer", "product", "order", "shoppingCommand", "shoppingQuery"]
    return {"global": shared, **{service: draw(SERVICE) for service in services}}


def text(value: object) -> str:
    """A value as an environment variable."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


@MANY
@given(stores())
def test_any_right_values_make_a_right_store(values: dict[str, Any]) -> None:
    objects = render(values)
    check(objects)
    assert bool(of_kind(objects, "NetworkPolicy")) == values["global"]["networkPolicies"]
    for service in SERVICES:
        name = "".join(word.title() if at else word for at, word in enumerate(service.split("-")))
        data = named(objects, "ConfigMap", f"store-{service}")["data"]
        for variable, value in (values["global"]["config"] | values[name].get("config", {})).items():
            assert data[variable] == text(value)
        deployment = named(objects, "Deployment", f"store-{service}")
        if not values[name].get("autoscaling"):
            assert deployment["spec"]["replicas"] == values[name].get("replicas", 1)
        assert all(container["resources"]["requests"] for container in containers(deployment))


@settings(MANY, max_examples=5)
@given(stores())
def test_the_same_values_make_the_same_pods(values: dict[str, Any]) -> None:
    again = json.loads(json.dumps(values))
    templates = [item["spec"]["template"] for item in workloads(render(values))]
    template.cache_clear()
    assert [item["spec"]["template"] for item in workloads(render(again))] == templates
