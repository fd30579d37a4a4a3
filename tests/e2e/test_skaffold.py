"""Development with skaffold: run, a change that redeploys one service, delete."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import ROOT, SERVICES, Cluster, Store, eventually, ready, uids
from tests.needs import missing


def tracked() -> list[str]:
    """The names of the project's files."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, text=True, capture_output=True, check=True).stdout
    return names.split("\0")[:-1]


def files(tree: Path) -> set[str]:
    """The names of the files in a tree."""
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_symlink() or path.is_file()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, of which files can be changed."""
    copy = tmp_path_factory.mktemp("skaffold") / "tree"
    copy.mkdir()
    names = "\0".join(tracked()).encode()
    tar = subprocess.run(
        ["tar", "-cf", "-", "--null", "-T", "-"], cwd=ROOT, input=names, capture_output=True, check=True
    )
    subprocess.run(["tar", "-xf", "-"], cwd=copy, input=tar.stdout, check=True)
    return copy


@pytest.fixture(scope="module")
def developed(cluster: Cluster, tree: Path) -> Iterator[tuple[Store, Path]]:
    """The store that `skaffold dev` keeps at the state of the tree, and skaffold's log."""
    if not shutil.which("skaffold"):
        missing("skaffold on the PATH: https://skaffold.dev/docs/install/")
    store = Store(cluster, "webstore-dev", host="dev.localhost")
    log = tree.parent / "skaffold.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["skaffold", "dev", "--port-forward=false", "--cleanup=false", "--trigger=polling"],
            cwd=tree, stdout=output, stderr=subprocess.STDOUT, env=cluster.environment,
        )  # fmt: skip

        def watching() -> bool:
            assert process.poll() is None, log.read_text()[-3000:]
            return "Watching for changes" in log.read_text()

        try:
            eventually("skaffold watches for changes", watching, 600)
            yield store, log
        finally:
            process.terminate()
            process.wait(60)
            subprocess.run(["skaffold", "delete"], cwd=tree, env=cluster.environment, check=True, timeout=180)
            cluster.delete_namespace(store.namespace)


def test_skaffold_brings_a_store_up_and_leaves_nothing_in_the_tree(developed: tuple[Store, Path], tree: Path) -> None:
    store, _ = developed
    store.await_answers()
    assert all(ready(pod) for pod in store.pods())
    assert files(tree) == set(tracked())


def test_a_changed_file_redeploys_its_service_alone(developed: tuple[Store, Path], tree: Path) -> None:
    store, log = developed
    before = {service: uids(store.pods(service)) for service in SERVICES}
    source = tree / "services/product/webstore_product/__init__.py"
    source.write_text(source.read_text() + "\n# changed\n")
    watched = log.read_text().count("Watching for changes")
    eventually("skaffold is done", lambda: log.read_text().count("Watching for changes") > watched, 300)
    eventually("the old pod is gone", lambda: not before["product"] & uids(store.pods("product")), 60)
    assert {service for service in SERVICES if uids(store.pods(service)) != before[service]} == {"product"}
    store.await_answers()
