"""The operator as a process of its own, with the rights of its chart and no others."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from tests.operator.kube import Kube, Object, path
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
NAMESPACE, RELEASE = "webstore-operator-tests", "webstore-operator"


def chart(*options: str) -> list[Object]:
    """The objects that the operator's chart makes."""
    helm = shutil.which("helm") or "helm"
    command = [helm, "template", RELEASE, str(ROOT / "charts/webstore-operator"), "--namespace", NAMESPACE, *options]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [body for body in yaml.safe_load_all(text) if body]


async def grant(kube: Kube, folder: Path) -> "Rights":
    """Makes the operator's service account and its rights, as the chart has them."""
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for body in chart():
        if body["kind"] in (
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
            "CustomResourceDefinition",
        ):
            if body["kind"] == "ServiceAccount":
                body["metadata"]["namespace"] = NAMESPACE
            await kube.apply(body)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    answer = await kube.request("POST", path("serviceaccounts", NAMESPACE, RELEASE) + "/token", json=request)
    authority = folder / "ca.crt"
    authority.write_text(kube.authority)
    return Rights(kube.server, authority, answer["status"]["token"], folder)


class Rights:
    """What the operator's service account may do, as a kubeconfig."""

    def __init__(self, server: str, authority: Path, token: str, folder: Path) -> None:
        self._server, self._authority, self._token, self._folder = server, authority, token, folder

    def kubeconfig(self, server: str = "") -> Path:
        """A kubeconfig for the API server, or for a proxy before it."""
        cluster = (
            {"server": server} if server else {"server": self._server, "certificate-authority": str(self._authority)}
        )
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": self._token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        file = self._folder / f"kubeconfig-{abs(hash(server))}"
        file.write_text(yaml.safe_dump(config))
        file.chmod(0o600)
        return file


class Operator:
    """A running operator.

    Attributes:
        port: of /livez, /readyz and /metrics.
        log: the file that it writes its log to.
    """

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()

    async def stop(self) -> int:
        """Asks it to end, as the kubelet does, and waits; returns the exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 30)


@asynccontextmanager
async def operating(rights: Rights, folder: Path, *, server: str = "", **settings: object) -> AsyncIterator[Operator]:
    """Starts an operator, and ends it with the block."""
    port = free_port()
    log = folder / f"operator-{port}.log"
    environment = os.environ | {
        "KUBECONFIG": str(rights.kubeconfig(server)),
        "WEBSTORE_OPERATOR_NAMESPACE": NAMESPACE,
        "WEBSTORE_OPERATOR_HOST": "127.0.0.1",
        "WEBSTORE_OPERATOR_PORT": str(port),
        **{f"WEBSTORE_OPERATOR_{name.upper()}": str(value) for name, value in settings.items()},
    }
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "webstore_operator.main", env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    operator = Operator(process, port, log)
    try:
        yield operator
    finally:
        if process.returncode is None:
            await operator.stop()
