"""The kind cluster that `make up` made, asked with the tools that a person uses: kubectl, helm, docker."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

ROOT = Path(__file__).parents[2]
SERVICES = ("customer", "product", "order", "shopping-command", "shopping-query")
CAMEL = {"shopping-command": "shoppingCommand", "shopping-query": "shoppingQuery"}
VERSION = "0.1.0"

Found = TypeVar("Found")


class CommandFailed(AssertionError):
    """A tool said no; the message is the command and what it said."""


class Cluster:
    """A kind cluster.

    Args:
        name: as kind knows it.
        kubeconfig: the file that says how to reach it.
    """

    def __init__(self, name: str, kubeconfig: Path) -> None:
        self.name = name
        self.node = f"{name}-control-plane"
        self.environment = os.environ | {"KUBECONFIG": str(kubeconfig), "CLUSTER": name}
        self.port = int(os.environ.get("HTTP_PORT") or 8080)

    def run(self, *command: str | Path, stdin: str | None = None, within: float = 300) -> str:
        """Runs a command against this cluster and returns its output.

        Raises:
            CommandFailed: it ended with an error, or did not end within that many seconds.
        """
        line = [str(part) for part in command]
        try:
            done = subprocess.run(
                line,
                check=False,
                input=stdin,
                text=True,
                capture_output=True,
                timeout=within,
                env=self.environment,
                cwd=ROOT,
            )
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"{' '.join(line)} did not end within {within:g} s") from None
        if done.returncode:
            raise CommandFailed(f"{' '.join(line)} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None, within: float = 300) -> str:
        """Runs kubectl."""
        return self.run("kubectl", *arguments, stdin=stdin, within=within)

    def helm(self, *arguments: str | Path, within: float = 600) -> str:
        """Runs helm."""
        return self.run("helm", *arguments, within=within)

    def get(self, *arguments: str) -> Any:
        """What `kubectl get` finds: an object, or the list of them."""
        found = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found["items"] if found["kind"].endswith("List") else found

    def apply(self, manifest: Mapping[str, Any], namespace: str) -> None:
        """Applies one object."""
        self.kubectl("apply", "--namespace", namespace, "-f", "-", stdin=json.dumps(manifest))

    def namespace(self, name: str, *, enforce: str = "restricted") -> None:
        """Makes a namespace that enforces a level of the Pod Security Standards."""
        labels = {"pod-security.kubernetes.io/enforce": enforce, "webstore.dev/test": "e2e"}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}, "default")

    def delete_namespace(self, name: str) -> None:
        """Deletes a namespace with all that is in it, and waits until it is gone."""
        self.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=180s", within=200)

    def load(self, *images: str) -> None:
        """Loads those of the images that the local Docker has."""
        self.run(ROOT / "kustomize/kind/load", *images)

    def install_operator(self, *settings: str, chart: Path = ROOT / "charts/webstore-operator") -> None:
        """Installs the operator by its chart, or sees that it is as the chart says."""
        release = ("webstore-operator", chart, "--namespace", "webstore-operator")
        # A roll-out that does not become ready is given up sooner than by default.
        options = ("--create-namespace", "--wait", "--timeout=180s", "--set", "readySeconds=120")
        self.helm("upgrade", "--install", *release, *options, *settings)


class Store:
    """A store in a namespace of its own, whichever way it got there.

    Args:
        name: the WebStore's, or the Helm release's.
        host: the name under which the ingress controller knows it.
    """

    def __init__(self, cluster: Cluster, namespace: str, *, name: str = "store", host: str = "") -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.name = name
        self.host = host or f"{namespace}.localhost"

    def kubectl(self, *arguments: str, stdin: str | None = None, within: float = 300) -> str:
        """Runs kubectl in the store's namespace."""
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin, within=within)

    def get(self, *arguments: str) -> Any:
        """What `kubectl get` finds in the store's namespace."""
        return self.cluster.get("--namespace", self.namespace, *arguments)

    def apply(self, spec: Mapping[str, Any] | None = None) -> None:
        """`kubectl apply` of the WebStore with this spec; the host is added."""
        manifest = {
            "apiVersion": "webstore.dev/v1",
            "kind": "WebStore",
            "metadata": {"name": self.name},
            "spec": {"ingress": {"host": self.host}, **(spec or {})},
        }
        self.cluster.apply(manifest, self.namespace)

    def await_ready(self, within: int = 420) -> None:
        """Waits until the WebStore is Ready in its newest generation."""
        self.await_condition("Ready", within=within)

    def await_condition(self, condition: str, status: str = "True", within: int = 420) -> None:
        """Waits for a condition of the WebStore; a failure tells what `kubectl describe` says."""
        wait = ("wait", f"--for=condition={condition}={status}", f"webstore/{self.name}", f"--timeout={within}s")
        try:
            self.kubectl(*wait, within=within + 10)
        except CommandFailed as failure:
            raise CommandFailed(f"{failure}\n{self.kubectl('describe', 'webstore', self.name)}\n"
                                f"{self.kubectl('get', 'pods')}") from None  # fmt: skip

    def conditions(self) -> dict[str, dict[str, str]]:
        """The WebStore's conditions, by type."""
        status = self.get("webstore", self.name).get("status", {})
        return {condition["type"]: condition for condition in status.get("conditions", [])}

    def pods(self, *parts: str) -> list[dict[str, Any]]:
        """The pods of these parts of the store (of all, without a name) that are not on their way out."""
        selector = f"app.kubernetes.io/instance={self.name}"
        if parts:
            selector += f",app.kubernetes.io/name in ({','.join(parts)})"
        return [pod for pod in self.get("pods", "-l", selector) if "deletionTimestamp" not in pod["metadata"]]

    def client(self, **headers: str) -> httpx.Client:
        """Talks to the store through the ingress controller."""
        url = f"http://127.0.0.1:{self.cluster.port}"
        return httpx.Client(base_url=url, headers={"Host": self.host, **headers}, timeout=30, trust_env=False)

    def await_answers(self, within: float = 60) -> None:
        """Waits until the ingress controller knows the store, and each service answers through it."""
        with self.client(**{"Customer-ID": "nobody"}) as client:
            for path in (
                "/product",
                "/customer",
                "/order",
                "/shopping-query/carts",
                "/shopping-command/-/openapi.json",
            ):
                eventually(f"{path} is answered", lambda path=path: _ok(client, path), within)


def _ok(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False


def eventually(what: str, found: Callable[[], Found], within: float = 60, every: float = 0.5) -> Found:
    """Asks again and again until the answer is true, and returns it.

    Raises:
        AssertionError: it was not within that many seconds.
    """
    deadline = time.monotonic() + within
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within:g} s: {what} (last seen: {answer!r})"
        time.sleep(every)


def uids(pods: list[dict[str, Any]]) -> set[str]:
    """What tells one pod from the next of the same name, its containers' restarts included."""
    return {
        f"{pod['metadata']['uid']}/{sum(c['restartCount'] for c in pod['status'].get('containerStatuses', []))}"
        for pod in pods
    }


def ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is ready."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def manifests(text: str) -> list[dict[str, Any]]:
    """The objects of a stream of YAML documents."""
    return [document for document in yaml.safe_load_all(text) if document]
