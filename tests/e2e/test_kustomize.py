"""The overlays' stores are taken by the API server, and so are the charts' manifests that the base holds."""

import pytest

from tests.e2e.cluster import Cluster


@pytest.mark.parametrize("overlay", ["small", "production"])
def test_an_overlays_store_is_accepted_by_the_api_server(operator: Cluster, overlay: str) -> None:
    folder = f"kustomize/overlays/{overlay}/store"
    operator.namespace("e2e-overlays")
    options = ("--namespace", "e2e-overlays", "--dry-run=server", "--validate=strict")
    applied = operator.kubectl("apply", *options, "-k", folder)
    operator.delete_namespace("e2e-overlays")
    assert applied.split() == ["webstore.webstore.dev/store", "created", "(server", "dry", "run)"]


@pytest.mark.parametrize("folder", ["kustomize/base", "kustomize/overlays/small", "kustomize/overlays/production"])
def test_the_operators_manifests_are_accepted_by_the_api_server(operator: Cluster, folder: str) -> None:
    operator.kubectl("apply", "--dry-run=server", "--validate=strict", "-k", folder)
