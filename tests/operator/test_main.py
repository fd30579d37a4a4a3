"""What the operator makes of the events that Kopf brings, without a cluster."""

from typing import Any, cast

import kopf

from webstore_operator.cluster import Cluster
from webstore_operator.main import Operator
from webstore_operator.settings import Settings


def body(uid: str, version: int) -> kopf.Body:
    metadata: dict[str, Any] = {"namespace": "shop", "name": "store", "uid": uid, "generation": 1}
    return kopf.Body({"metadata": metadata | {"resourceVersion": str(version)}, "spec": {}})


async def test_what_comes_late_of_a_deleted_store_does_not_touch_its_successor_of_the_same_name() -> None:
    """Kopf keeps the events of one object in order, and not those of two."""
    operator = Operator(cast("Cluster", None), Settings())
    known = operator._reconciler.stores
    await operator._event("ADDED", body("first", 1))
    await operator._event("ADDED", body("second", 5))
    await operator._event("MODIFIED", body("first", 3))
    assert known["shop", "store"].owner.uid == "second"
    await operator._event("DELETED", body("first", 4))
    assert known["shop", "store"].owner.uid == "second"
    await operator._event("DELETED", body("second", 6))
    assert not known
