"""The network policies let through what is needed and, where the cluster's network enforces them, nothing else."""

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import SERVICES, VERSION, Cluster, CommandFailed, Store, eventually

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5).close()"


@pytest.fixture(scope="module")
def stranger(cluster: Cluster) -> Iterator[Store]:
    """A namespace with a pod that belongs to no store."""
    elsewhere = Store(cluster, "e2e-stranger")
    cluster.namespace(elsewhere.namespace)
    container = {
        "name": "stranger",
        "image": f"webstore/customer:{VERSION}",
        "command": ["python", "-m", "http.server", "8000", "--directory", "/tmp"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "containers": [container],
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 1,
    }
    cluster.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger"}, "spec": spec}, elsewhere.namespace
    )
    elsewhere.kubectl("wait", "--for=condition=Ready", "pod/stranger", "--timeout=60s")
    yield elsewhere
    cluster.delete_namespace(elsewhere.namespace)


def connects(stranger: Store, host: str, port: int) -> bool:
    try:
        stranger.kubectl("exec", "stranger", "--", "python", "-c", CONNECT, host, str(port))
    except CommandFailed:
        return False
    return True


@pytest.fixture(scope="module")
def enforced(stranger: Store) -> None:
    """Skips where the cluster's network ignores policies: one that lets nothing out is not obeyed."""
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "nothing-out"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    }
    address = stranger.cluster.get("--namespace", "kube-system", "service", "kube-dns")["spec"]["clusterIP"]
    assert connects(stranger, address, 53)
    stranger.cluster.apply(policy, stranger.namespace)
    try:
        eventually("the policy is obeyed", lambda: not connects(stranger, address, 53), within=10, every=1)
    except AssertionError:
        pytest.skip("the cluster's network does not enforce NetworkPolicies, so only what they say is tested")
    finally:
        stranger.kubectl("delete", "networkpolicy", "nothing-out")


def test_every_pod_of_a_store_is_under_a_policy_of_its_own(store: Store) -> None:
    selected = {
        policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]: policy["spec"]
        for policy in store.get("networkpolicies")
    }
    assert set(selected) == {*SERVICES, "postgres", "kafka", "mailpit"}
    assert all(set(policy["policyTypes"]) == {"Ingress", "Egress"} for policy in selected.values())


def test_only_services_are_let_to_the_database_and_to_kafka(store: Store) -> None:
    for system in ("postgres", "kafka"):
        policy = store.get("networkpolicy", f"{store.name}-{system}")["spec"]
        for rule in policy["ingress"]:
            assert rule["from"], f"{system} is open to all"
            assert all("podSelector" in peer and "namespaceSelector" not in peer for peer in rule["from"])


@pytest.mark.usefixtures("enforced")
@pytest.mark.parametrize(("system", "port"), [("postgres", 5432), ("kafka", 9092), ("mailpit", 1025)])
def test_a_stranger_does_not_reach_the_supporting_systems(
    store: Store, stranger: Store, system: str, port: int
) -> None:
    assert not connects(stranger, f"{store.name}-{system}.{store.namespace}", port)
