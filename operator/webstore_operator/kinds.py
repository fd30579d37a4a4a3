"""The kinds of objects that a store consists of. The operator watches these, may change these, and no others."""

from typing import NamedTuple


class ObjectKind(NamedTuple):
    """Where the API server keeps objects of a kind.

    Attributes:
        whole: watched with spec and status, because these tell whether the store is ready and where it answers; of
            all others the metadata is enough.
        optional: what to do about a spec that needs the kind where the cluster does not have it.
    """

    api_version: str
    plural: str
    whole: bool = False
    optional: str = ""

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of one, of all in a namespace, or of all."""
        group = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        place = f"/namespaces/{namespace}" if namespace else ""
        return f"{group}{place}/{self.plural}" + (f"/{name}" if name else "")


_GATEWAY = "install the Gateway API's definitions, or remove spec.gateway"
_PROMETHEUS = "install the Prometheus operator, or set spec.metrics.monitors: false"

KINDS = {
    "ServiceAccount": ObjectKind("v1", "serviceaccounts"),
    "Secret": ObjectKind("v1", "secrets"),
    "ConfigMap": ObjectKind("v1", "configmaps"),
    "NetworkPolicy": ObjectKind("networking.k8s.io/v1", "networkpolicies"),
    "Service": ObjectKind("v1", "services"),
    "PodDisruptionBudget": ObjectKind("policy/v1", "poddisruptionbudgets"),
    "Deployment": ObjectKind("apps/v1", "deployments", whole=True),
    "StatefulSet": ObjectKind("apps/v1", "statefulsets", whole=True),
    "HorizontalPodAutoscaler": ObjectKind("autoscaling/v2", "horizontalpodautoscalers"),
    "CronJob": ObjectKind("batch/v1", "cronjobs"),
    "Ingress": ObjectKind("networking.k8s.io/v1", "ingresses", whole=True),
    "HTTPRoute": ObjectKind("gateway.networking.k8s.io/v1", "httproutes", whole=True, optional=_GATEWAY),
    "PodMonitor": ObjectKind("monitoring.coreos.com/v1", "podmonitors", optional=_PROMETHEUS),
    "PrometheusRule": ObjectKind("monitoring.coreos.com/v1", "prometheusrules", optional=_PROMETHEUS),
}
