"""The charts' pods in Docker's containers, without a cluster: image, command, environment, files, limits and users.

What a ConfigMap mounts is a read-only folder, what is to be written (emptyDir, claims) an empty one, and the root file
system is read-only, as in the cluster. Names of Services are aliases on a network of the test's own.
"""

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.needs import missing
from tests.ports import free_port

CHARTS = Path(__file__).parents[2] / "charts"
_NAMESPACE = "shop"


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout.strip()


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    import yaml

    if not shutil.which("helm"):
        missing("helm on the PATH (https://helm.sh/docs/intro/install)")
    command = ["helm", "template", "store", str(CHARTS / "webstore"), "--namespace", _NAMESPACE, "--values", "-"]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=True)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@dataclass
class Containers:
    """A network with containers, and the objects that they are made of."""

    objects: list[dict[str, Any]]
    folder: Path
    network: str = field(default_factory=lambda: f"webstore-test-{secrets.token_hex(4)}")
    started: list[str] = field(default_factory=list)

    def one(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = [each for each in self.objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
        return found

    def run(
        self,
        kind: str,
        name: str,
        container: str,
        *,
        aliases: Sequence[str] = (),
        publish: Sequence[int] = (),
        folders: dict[str, Path] | None = None,
        change: Callable[[str], str] = str,
        detached: bool = True,
    ) -> str:
        """Starts one container of a pod, and gives it the volumes that the pod's others have.

        Args:
            folders: of this machine, in place of the pod's volumes of these names.
            change: what to do to the files of its ConfigMaps.
            detached: or until it ends.
        """
        pod = self.one(kind, name)["spec"]["template"]["spec"]
        (spec,) = [each for each in (*pod.get("initContainers", []), *pod["containers"]) if each["name"] == container]
        where = f"{self.network}-{name}-{container}"
        options = ["--name", where, "--network", self.network, "--read-only", "--cap-drop", "ALL"]
        options += ["--security-opt", "no-new-privileges", "--user", str(pod["securityContext"]["runAsUser"])]
        options += ["--memory", _docker_size(spec["resources"]["limits"]["memory"])]
        for alias in aliases:
            options += ["--network-alias", alias]
        for port in publish:
            # Docker would choose another one each time that it is started.
            options += ["--publish", f"127.0.0.1:{free_port()}:{port}"]
        for variable, value in _environment(spec, f"{name}-0").items():
            options += ["--env", f"{variable}={value}"]
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for mount in spec.get("volumeMounts", []):
            source = (folders or {}).get(mount["name"]) or self._volume(name, mount["name"], volumes, change)
            mode = ":ro" if mount.get("readOnly") else ""
            options += ["--volume", f"{source / mount.get('subPath', '')}:{mount['mountPath']}{mode}"]
        command = [*spec.get("command", []), *spec.get("args", [])]
        if spec.get("command"):
            options, command = [*options, "--entrypoint", command[0]], command[1:]
        docker("run", "--detach" if detached else "--rm", *options, spec["image"], *command)
        if detached:
            self.started.append(where)
        return where

    def url(self, container: str, port: int) -> str:
        return f"http://{docker('port', container, str(port)).splitlines()[0]}"

    def _volume(self, pod: str, name: str, volumes: dict[str, Any], change: Callable[[str], str]) -> Path:
        folder = self.folder / pod / name
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o777)
            if config := volumes.get(name, {}).get("configMap"):
                for file, content in self.one("ConfigMap", config["name"])["data"].items():
                    (folder / file).write_text(change(content))
        return folder


@contextmanager
def containers(objects: list[dict[str, Any]], folder: Path) -> Iterator[Containers]:
    made = Containers(objects, folder)
    docker("network", "create", made.network)
    try:
        yield made
    finally:
        for name in reversed(made.started):
            docker("rm", "--force", "--volumes", name)
        docker("network", "rm", made.network)


def need_images(*images: str) -> None:
    """Skips where Docker or an image is not there."""
    if not shutil.which("docker"):
        missing("Docker")
    done = subprocess.run(["docker", "image", "inspect", *images], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"Docker's images {', '.join(images)} (docker pull)")


def _environment(spec: dict[str, Any], pod: str) -> dict[str, str]:
    found: dict[str, str] = {}
    fields = {"metadata.name": pod, "metadata.labels['apps.kubernetes.io/pod-index']": "0"}
    for variable in spec.get("env", []):
        value = variable.get("value")
        if value is None:
            value = fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        found[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda name: found[name[1]], value)
    return found


def _docker_size(quantity: str) -> str:
    return quantity.replace("Ki", "k").replace("Mi", "m").replace("Gi", "g")
