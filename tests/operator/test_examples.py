"""The examples are taken by the API server, and the charts make a store of each; so is every object of it."""

import pytest
import yaml

from tests.operator.kube import Kube, Object
from tests.operator.process import ROOT, Rights
from tests.operator.stores import Store
from tests.operator.test_refused import dry_run
from webstore_operator.desired import Owner, Renderer, values
from webstore_operator.kinds import KINDS
from webstore_operator.settings import Settings
from webstore_operator.spec import WebStoreSpec

EXAMPLES: dict[str, Object] = {
    example.name: yaml.safe_load(example.read_text()) for example in sorted((ROOT / "examples").glob("*.yaml"))
}


@pytest.mark.parametrize("body", EXAMPLES.values(), ids=EXAMPLES)
async def test_an_example_is_taken_and_so_is_every_object_of_its_store(
    kube: Kube, rights: Rights, store: Store, body: Object
) -> None:
    kept = await dry_run(kube, body["spec"], body["metadata"]["name"])
    spec = WebStoreSpec.model_validate(kept["spec"])
    owner = Owner(store.namespace, body["metadata"]["name"], "0ddba11")
    plan = await Renderer(Settings().chart).plan(owner, values(spec, owner.name, "1"))
    for ref, made in plan.objects(plan.wanted).items():
        query = {"fieldManager": "tests", "dryRun": "All", "fieldValidation": "Strict"}
        url = KINDS[ref.kind].path(store.namespace, ref.name)
        headers = {"Content-Type": "application/apply-patch+yaml"}
        await kube.request("PATCH", url, params=query, content=yaml.safe_dump(made), headers=headers)


def test_there_are_the_examples_that_the_readme_names() -> None:
    assert list(EXAMPLES) == ["webstore-full.yaml", "webstore-production.yaml", "webstore.yaml"]
