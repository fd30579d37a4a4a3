"""A store is changed while customers shop in it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import ROOT, SERVICES, VERSION, Store, eventually, uids
from tests.e2e.load import Load

NEWER = "0.1.1"


@pytest.fixture(scope="module", autouse=True)
def _newer(store: Store) -> None:
    """The images of a newer version: the same programs under another tag."""
    images = [f"webstore/{service}:{NEWER}" for service in SERVICES]
    for service, image in zip(SERVICES, images, strict=True):
        subprocess.run(["docker", "tag", f"webstore/{service}:{VERSION}", image], check=True)
    store.cluster.load(*images)


@pytest.fixture(autouse=True)
def _as_it_was(store: Store) -> Iterator[None]:
    yield
    store.apply()
    store.await_ready()


def status(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = store.get("webstore", store.name)["status"]
    return found


def versions(store: Store) -> set[str]:
    pods = store.pods(*SERVICES)
    return {container["image"].split(":")[-1] for pod in pods for container in pod["spec"]["containers"]
            if "webstore/" in container["image"]}  # fmt: skip


def _newer_release(store: Store, folder: Path) -> Path:
    """A tree of the operator and its charts as the next release has them, and its image in the cluster."""
    for part in ("operator", "charts", "crds"):
        shutil.copytree(ROOT / part, folder / part, symlinks=True)
    for file in (folder / "operator/pyproject.toml", *folder.glob("charts/**/Chart.yaml")):
        file.write_text(file.read_text().replace(VERSION, NEWER))
    crd = folder / "crds/webstores.yaml"
    crd.write_text(crd.read_text().replace("'Leave the store as it is:", "'Newer: leave the store as it is:"))
    image = f"webstore/operator:{NEWER}"
    store.cluster.run("docker", "build", "--quiet", "--file", folder / "operator/Dockerfile", "--tag", image, folder)
    store.cluster.load(image)
    return folder


def _orders_go_on(load: Load) -> None:
    before = load.orders
    eventually("orders after the roll-out", lambda: load.orders > before + 4, 60)


def test_a_newer_operator_brings_its_crd_and_rolls_all_services_and_the_way_back_and_no_request_fails(
    store: Store, tmp_path: Path
) -> None:
    release = _newer_release(store, tmp_path)
    assert versions(store) == {VERSION}
    with Load(store) as load:
        store.cluster.install_operator(chart=release / "charts/webstore-operator")
        assert "Newer:" in store.kubectl("explain", "webstore.spec.paused")
        eventually("the newer version is ready", lambda: status(store)["version"] == NEWER, 300)
        assert versions(store) == {NEWER}
        _orders_go_on(load)
        store.apply({"version": VERSION})
        store.await_ready()
        assert versions(store) == {VERSION}
        _orders_go_on(load)
    assert (load.wrong, load.away) == ([], [])
    load.check_the_books()
    pods = uids(store.pods())
    store.cluster.install_operator()
    store.await_ready()
    assert uids(store.pods()) == pods, "an operator of another release leaves a store of a given version alone"


def test_an_image_that_cannot_be_had_is_degraded_while_the_old_pods_serve_and_is_rolled_back(store: Store) -> None:
    before = uids(store.pods(*SERVICES))
    with Load(store) as load:
        store.apply({"version": "0.0.0-missing"})
        store.await_condition("Degraded", within=300)
        told = store.conditions()["Degraded"]
        assert "0.0.0-missing" in told["message"]
        eventually("the old pods alone are there", lambda: uids(store.pods(*SERVICES)) == before, 420)
    assert (load.wrong, load.away) == ([], [])
    assert versions(store) == {VERSION}


def test_changed_configuration_rolls_exactly_the_pods_that_read_it(store: Store) -> None:
    before = {pod: uids(store.pods(pod)) for pod in (*SERVICES, "postgres", "kafka", "mailpit")}

    def rolled() -> set[str]:
        return {part for part, pods in before.items() if uids(store.pods(part)) != pods}

    store.apply({"services": {"customer": {"config": {"WEBSTORE_SWEEP_SECONDS": "6"}}}})
    store.await_ready()
    assert rolled() == {"customer"}
    store.apply({"config": {"WEBSTORE_SWEEP_SECONDS": "7"}})
    store.await_ready()
    assert rolled() == set(SERVICES)
