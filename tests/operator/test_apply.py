"""What is known of an apply, without a cluster."""

from typing import Any, cast

import pytest

from webstore_operator.apply import Applier
from webstore_operator.cluster import Cluster
from webstore_operator.desired import MANAGER, Owner, Ref, build
from webstore_operator.owned import Owned
from webstore_operator.spec import WebStoreSpec
from webstore_operator.status import Status
from webstore_operator.store import Store

Object = dict[str, Any]

OWNER = Owner("shop", "store", "uid-1")
STORE = Store(OWNER, version=1, generation=1, spec=WebStoreSpec(), status=Status(), deleting=False)
SETTINGS = Ref("ConfigMap", "store-order")
PLAN = build(OWNER, b"{apiVersion: v1, kind: ConfigMap, metadata: {name: store-order}, data: {colour: ours}}")


class Api:
    """An API server whose answers to applies come after the watch has told what somebody did next, if he did."""

    def __init__(self, *, changed: bool) -> None:
        self.changed = changed
        self.owned = Owned(cast("Cluster", self), lambda _: None)

    async def get(self, *_: object) -> Object:
        return {"metadata": {"uid": OWNER.uid}}

    async def request(self, *_: object, **__: object) -> Object:
        return {"items": []}

    async def apply(self, _kind: object, body: Object, **_: object) -> Object:
        now = 2 + len(self.owned.of(STORE.key)) * 2
        ours = {"f:data": {"f:colour": {}}}
        self.owned.put(STORE.key, SETTINGS, _body(body, now + 1, {} if self.changed else ours))
        return _body(body, now, ours)


def _body(body: Object, version: int, fields: Object) -> Object:
    managed = {"manager": MANAGER, "operation": "Apply", "fieldsV1": {"f:metadata": {}} | fields}
    metadata = {"uid": "uid-2", "resourceVersion": str(version), "managedFields": [managed]}
    return {"metadata": body["metadata"] | metadata}


@pytest.mark.parametrize("changed", [True, False])
async def test_what_somebody_changes_before_the_answer_has_come_is_put_back(changed: bool) -> None:
    api = Api(changed=changed)
    applier = Applier(cast("Cluster", api), api.owned)
    assert await applier.apply(STORE, PLAN, PLAN.wanted) == []
    assert await applier.apply(STORE, PLAN, PLAN.wanted) == ([SETTINGS] if changed else [])
