"""A store is changed while customers shop in it."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import SERVICES, VERSION, Store, eventually, uids
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


def versions(store: Store) -> set[str]:
    pods = store.pods(*SERVICES)
    return {container["image"].split(":")[-1] for pod in pods for container in pod["spec"]["containers"]
            if "webstore/" in container["image"]}  # fmt: skip


def test_a_rolling_upgrade_of_all_services_and_the_way_back_fail_no_request(store: Store) -> None:
    assert versions(store) == {VERSION}
    with Load(store) as load:
        for version in (NEWER, VERSION):
            store.apply({"version": version})
            store.await_ready()
            assert versions(store) == {version}
            before = load.orders
            eventually("orders after the roll-out", lambda before=before: load.orders > before + 4, 60)
    assert (load.wrong, load.away) == ([], [])
    load.check_the_books()


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


def test_an_upgrade_of_the_operators_chart_leaves_the_pods_of_its_stores_alone(store: Store) -> None:
    before = uids(store.pods())
    store.cluster.kubectl("--namespace", "webstore-operator", "rollout", "restart", "deployment")
    store.cluster.install_operator()
    store.await_ready()
    assert uids(store.pods()) == before
