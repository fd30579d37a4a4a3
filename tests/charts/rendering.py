"""Charts rendered by the real Helm, and what every rendering must hold."""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.needs import missing

Object = dict[str, Any]

CHARTS = Path(__file__).parents[2] / "charts"
SERVICES = ("customer", "product", "order", "shopping-command", "shopping-query")
SYSTEMS = ("postgres", "kafka", "mailpit")
TELEMETRY = ("zipkin", "elasticsearch", "kibana", "logstash", "rsyslog")
# What a service that is installed alone must be told.
GIVEN: Object = {
    "global": {
        "database": {"external": {"host": "db.example.com", "secret": "passwords"}},
        "kafka": {"external": {"bootstrapServers": "kafka.example.com:9092"}},
    }
}


class Refused(Exception):
    """Helm does not render these values; the message is what a user sees."""


def helm(*arguments: str | Path, stdin: str = "") -> str:
    """Runs Helm.

    Raises:
        Refused: it fails.
    """
    if not shutil.which("helm"):
        missing("helm on the PATH (https://helm.sh/docs/intro/install)")
    done = subprocess.run(["helm", *map(str, arguments)], input=stdin, text=True, capture_output=True, check=False)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def manifest(values: Mapping[str, Any] | None = None, chart: str = "webstore", release: str = "store") -> str:
    """What `helm template` writes in the namespace `shop`."""
    return template(json.dumps(values or {}, ensure_ascii=False), chart, release)


@cache
def template(values: str, chart: str, release: str) -> str:
    """The same, from JSON; what was rendered once is not rendered again."""
    return helm("template", release, CHARTS / chart, "--namespace", "shop", "--values", "-", stdin=values)


def render(values: Mapping[str, Any] | None = None, chart: str = "webstore", release: str = "store") -> list[Object]:
    """The objects of a chart."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [item for item in yaml.load_all(manifest(values, chart, release), loader) if item]


def named(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    [found] = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """All objects of these kinds."""
    return [item for item in objects if item["kind"] in kinds]


def workloads(objects: list[Object]) -> list[Object]:
    """What makes pods."""
    return of_kind(objects, "Deployment", "StatefulSet", "Job")


def containers(workload: Object) -> list[Object]:
    """All containers of a workload's pods."""
    pod = workload["spec"]["template"]["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


def check(objects: list[Object], release: str = "store") -> None:
    """What must hold for whatever values."""
    names = Counter((item["kind"], item["metadata"]["name"]) for item in objects)
    assert not [name for name, count in names.items() if count > 1]
    for item in objects:
        _check_labels(item, release)
    for workload in workloads(objects):
        _check_pods(workload)
    _check_selectors(objects)
    _check_references(objects)
    scaled = {item["spec"]["scaleTargetRef"]["name"] for item in of_kind(objects, "HorizontalPodAutoscaler")}
    for deployment in of_kind(objects, "Deployment"):
        assert ("replicas" in deployment["spec"]) == (deployment["metadata"]["name"] not in scaled)


def _check_labels(item: Object, release: str) -> None:
    labels = {name.removeprefix("app.kubernetes.io/"): value for name, value in item["metadata"]["labels"].items()}
    assert labels["instance"] == release
    assert labels["part-of"] == "webstore"
    assert labels["managed-by"] == "Helm"
    assert labels["component"] in ("system", "service")
    assert {"name", "version"} <= labels.keys()
    name = item["metadata"]["name"]
    assert name.startswith(labels["name"] if release == labels["name"] else f"{release}-{labels['name']}")


def _check_pods(workload: Object) -> None:
    template = workload["spec"]["template"]
    pod = template["spec"]
    assert workload["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
    for container in containers(workload):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= container["resources"].keys()
        assert not container["image"].endswith(":latest")
        assert ":" in container["image"]
        variables = Counter(variable["name"] for variable in container.get("env", []))
        assert max(variables.values(), default=1) == 1
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def _check_selectors(objects: list[Object]) -> None:
    """Each selector that names one of the store's parts finds its pods."""
    pods = [workload["spec"]["template"]["metadata"]["labels"] for workload in workloads(objects)]
    for item in of_kind(objects, "Service"):
        [labels] = [labels for labels in pods if item["spec"]["selector"].items() <= labels.items()]
        assert labels["app.kubernetes.io/name"] == item["metadata"]["labels"]["app.kubernetes.io/name"]
    for item in of_kind(objects, "PodDisruptionBudget"):
        assert len([1 for labels in pods if item["spec"]["selector"]["matchLabels"].items() <= labels.items()]) == 1
    for item in of_kind(objects, "NetworkPolicy"):
        assert len([1 for labels in pods if item["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]) == 1


def _check_references(objects: list[Object]) -> None:
    """What pods and routes name is there."""
    there = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for workload in workloads(objects):
        pod = workload["spec"]["template"]["spec"]
        assert ("ServiceAccount", pod["serviceAccountName"]) in there
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
        for container in containers(workload):
            for source in container.get("envFrom", []):
                assert ("ConfigMap", source["configMapRef"]["name"]) in there
    for item in of_kind(objects, "Ingress"):
        for rule in item["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                assert ("Service", path["backend"]["service"]["name"]) in there
    for item in of_kind(objects, "HTTPRoute"):
        for rule in item["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                assert ("Service", backend["name"]) in there
