"""The way in for those who do not use Helm says what the charts say."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.needs import missing

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "kustomize").glob("**/kustomization.yaml"))


def run(*command: str) -> str:
    if not shutil.which(command[0]) and not (ROOT / command[0]).is_file():
        missing(f"{command[0]} on the PATH")
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout


def build(folder: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(run("kubectl", "kustomize", folder)))


def test_the_base_is_the_operators_chart_as_rendered_now() -> None:
    if not shutil.which("helm"):
        missing("helm on the PATH")
    kept = (ROOT / "kustomize/base/operator.yaml").read_text()
    assert kept == run("kustomize/base/render"), "`make manifests` renders kustomize/base/operator.yaml anew"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_every_folder_builds(folder: Path) -> None:
    assert build(str(folder))


def test_the_base_is_the_definition_and_the_operator() -> None:
    kinds = [item["kind"] for item in build("kustomize/base")]
    assert kinds.count("CustomResourceDefinition") == 1
    assert kinds.count("Deployment") == 1


@pytest.mark.parametrize(("overlay", "replicas"), [("small", 1), ("production", 2)])
def test_an_overlay_sets_the_operators_replicas(overlay: str, replicas: int) -> None:
    [operator] = [item for item in build(f"kustomize/overlays/{overlay}") if item["kind"] == "Deployment"]
    assert operator["spec"]["replicas"] == replicas


def test_production_runs_the_operators_pods_on_different_nodes() -> None:
    [operator] = [item for item in build("kustomize/overlays/production") if item["kind"] == "Deployment"]
    pod = operator["spec"]["template"]
    [rule] = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert rule["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
