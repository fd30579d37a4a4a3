"""A WebStore as the API server holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from webstore_operator.desired import Owner
from webstore_operator.spec import WebStoreSpec
from webstore_operator.status import Status


@dataclass(frozen=True, slots=True)
class Store:
    """One WebStore.

    Attributes:
        version: the resourceVersion, which grows with each change.
        deleting: somebody deleted it and it only waits for its objects (a foreground deletion).
    """

    owner: Owner
    version: int
    generation: int
    spec: WebStoreSpec
    status: Status
    deleting: bool

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "Store":
        """Reads the resource; the API server has checked its spec."""
        metadata = body["metadata"]
        try:
            status = Status.model_validate(dict(body.get("status") or {}))
        except (
            ValidationError
        ):  # written by another release, which meant something else by it: what matters is found out anew
            status = Status()
        return cls(
            owner=Owner(metadata["namespace"], metadata["name"], metadata["uid"]),
            version=int(metadata["resourceVersion"]),
            generation=metadata["generation"],
            spec=WebStoreSpec.model_validate(dict(body.get("spec") or {})),
            status=status,
            deleting="deletionTimestamp" in metadata,
        )

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.owner.namespace, self.owner.name
