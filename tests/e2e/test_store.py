"""The smallest WebStore is a working store, and says so."""

import socket
from typing import Any

import pytest

from tests.e2e.cluster import SERVICES, VERSION, Store, ready
from webstore_embedded import demo


@pytest.fixture
def localhost_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names below `localhost` are this machine (RFC 6761), which not every resolver knows."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_the_smallest_store_is_ready_and_all_its_pods_are(store: Store) -> None:
    assert store.conditions()["Ready"]["status"] == "True"
    pods = store.pods()
    parts = {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in pods}
    assert parts == {*SERVICES, "postgres", "kafka", "mailpit"}
    assert [pod["metadata"]["name"] for pod in pods if not ready(pod)] == []


def test_kubectl_get_shows_ready_version_and_url(store: Store) -> None:
    header, row = store.kubectl("get", "webstores").splitlines()
    told = dict(zip(header.split(), row.split(), strict=True))
    assert told["READY"] == "True"
    assert told["VERSION"] == VERSION
    assert told["URL"] == f"http://{store.host}"


def test_kubectl_explain_documents_every_field_of_the_spec(store: Store) -> None:
    explained = store.kubectl("explain", "webstore.spec", "--recursive")
    for field in ("version", "ingress", "database", "kafka", "tracing", "mail", "auth", "paused", "deletionPolicy"):
        assert field in explained
    assert "Retain" in store.kubectl("explain", "webstore.spec.deletionPolicy")


@pytest.mark.usefixtures("localhost_names")
def test_the_rest_clients_scenario_passes_through_the_ingress(store: Store) -> None:
    demo.play(f"http://{store.host}:{store.cluster.port}")


def test_its_pods_hold_no_token_of_the_api_server_and_run_restricted(store: Store) -> None:
    for pod in store.pods():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
