"""A real API server accepts every object: it knows each field, and the pods meet the `restricted` Pod Security level.

Kubernetes 1.34's own OpenAPI and admission do the checking, by server-side dry runs with strict field validation.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.rendering import CHARTS, GIVEN, SERVICES, Object, of_kind, render, workloads
from tests.charts.test_settings import FULL
from tests.needs import missing

EXAMPLES = sorted((CHARTS.parent / "examples").glob("*.yaml"))
SCALED = {"min": 2, "max": 4, "cpu": 60}
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything external": FULL,
    "three brokers, scaled services, deletion": {
        "global": {"kafka": {"replicas": 3}, "deletionPolicy": "Delete", "images": {"pullSecrets": ["registry"]}},
        **{name: {"autoscaling": SCALED} for name in ("customer", "product", "shoppingQuery")},
    },
    "a host with TLS, closed to all but the gateway": {
        "global": {
            "ingress": {
                "host": "shop.example.com",
                "className": "traefik",
                "tlsSecret": "tls",
                "annotations": {"example.com/a": "b"},
                "controllerNamespace": "traefik",
            }
        }
    },
    "traces and logs, by rsyslog": {"global": {"tracing": {"enabled": True}, "logging": {"enabled": True}}},
    "traces from the gateway on": {"global": {"tracing": {"enabled": True, "gateway": True}}},
    "traces and logs, by logstash": {
        "global": {"tracing": {"enabled": True, "sampling": 0.1}, "logging": {"enabled": True, "indexer": "logstash"}}
    },
    "traces and logs, elsewhere": {
        "global": {
            "tracing": {"enabled": True, "external": {"endpoint": "http://traces.example.com:4318"}},
            "logging": {"enabled": True, "external": {"url": "https://logs.example.com:9200", "secret": "elastic"}},
        }
    },
}


class Server:
    """The API server, and a namespace of it that lets in nothing but `restricted` pods."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig
        self.namespace = f"charts-{uuid.uuid4().hex[:8]}"

    def kubectl(self, *arguments: str, objects: list[Object] | None = None) -> str:
        """Runs kubectl; what it says of an error is the test's failure."""
        command = ["kubectl", "--kubeconfig", self._kubeconfig, "--namespace", self.namespace, *arguments]
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects or []})
        done = subprocess.run(command, input=given, text=True, capture_output=True, check=False)
        if done.returncode:
            pytest.fail(done.stderr, pytrace=False)
        return done.stdout

    def accepts(self, objects: list[Object]) -> None:
        """Fails with what the server says against any of them; a warning counts, as Pod Security's about templates."""
        options = ("--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "--filename=-")
        written = self.kubectl("apply", *options, objects=objects)
        assert written.count("(server dry run)") == len(objects)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    kubeconfig = os.environ.get("WEBSTORE_TEST_APISERVER")
    if not kubeconfig or not Path(kubeconfig).is_file():
        missing("an API server of Kubernetes 1.34: set WEBSTORE_TEST_APISERVER to its kubeconfig")
    if not shutil.which("kubectl"):
        missing("kubectl on the PATH (https://kubernetes.io/docs/tasks/tools)")
    server = Server(kubeconfig)
    server.kubectl("create", "namespace", server.namespace)
    levels = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
    server.kubectl("label", "namespace", server.namespace, *levels)
    yield server
    server.kubectl("delete", "namespace", server.namespace, "--wait=false")


def pods(objects: list[Object]) -> list[Object]:
    """A bare Pod of each workload's template, with what its controller would add."""
    made = []
    for workload in workloads(objects):
        template = workload["spec"]["template"]
        claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])]
        volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
        spec = template["spec"] | {"volumes": [*template["spec"].get("volumes", []), *volumes]}
        metadata = template["metadata"] | {"name": f"{workload['metadata']['name']}-bare"}
        made.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return made


@pytest.mark.parametrize("case", VALUES)
def test_the_server_accepts_every_object_and_every_pod(case: str, server: Server) -> None:
    objects = render(VALUES[case])
    server.accepts(objects)
    server.accepts(pods(objects))


@pytest.mark.parametrize("service", SERVICES)
def test_the_server_accepts_a_service_alone(service: str, server: Server) -> None:
    objects = render(GIVEN, service, service)
    server.accepts(objects)
    server.accepts(pods(objects))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_server_accepts_what_the_charts_make_of_an_example(example: Path, server: Server) -> None:
    for store in of_kind(list(yaml.safe_load_all(example.read_text())), "WebStore"):
        spec = {name: value for name, value in store["spec"].items() if name not in ("services", "paused")}
        objects = render({"global": spec, **store["spec"].get("services", {})})
        routes = of_kind(objects, "HTTPRoute")  # of the Gateway API, which is not a part of Kubernetes
        server.accepts([item for item in objects if item not in routes])
        server.accepts(pods(objects))


def test_the_server_would_refuse_a_field_that_it_does_not_know(server: Server) -> None:
    [service] = of_kind(render(GIVEN, "order", "order"), "Service")
    service["spec"]["portz"] = service["spec"]["ports"]
    with pytest.raises(pytest.fail.Exception, match="portz"):
        server.accepts([service])


def test_the_server_would_refuse_a_pod_that_is_not_restricted(server: Server) -> None:
    [pod] = pods(render(GIVEN, "order", "order"))
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(pytest.fail.Exception, match="allowPrivilegeEscalation"):
        server.accepts([pod])
