"""The CustomResourceDefinition, made from the models: `python -m webstore_operator.crd > crds/webstores.yaml`."""

import sys
from typing import Any

import yaml
from pydantic import BaseModel

from webstore_operator import spec
from webstore_operator.status import Status

Schema = dict[str, Any]

# Read by nobody below /v1, or not allowed in a structural schema.
_DROPPED = {"title", "propertyNames", "$defs", "exclusiveMinimum"}


def schema(model: type[BaseModel]) -> Schema:
    """The model as a structural schema
    (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/)."""
    document = model.model_json_schema(by_alias=True)
    return dict(_structural(document, document.get("$defs", {})))


def _structural(node: Any, definitions: Schema) -> Any:
    if isinstance(node, list):
        return [_structural(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        # What stands beside the reference, a field's own description or default, wins over the class's.
        name = node["$ref"].rpartition("/")[2]
        node = {**definitions[name], **{k: v for k, v in node.items() if k != "$ref"}}
    if "anyOf" in node:  # optional: absent instead of null
        (only,) = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
        rest = {k: v for k, v in node.items() if k not in ("anyOf", "default")}
        return _structural({**only, **rest}, definitions)
    clean = {}
    for key, value in node.items():
        if key == "properties":
            clean[key] = {name: _structural(field, definitions) for name, field in value.items()}
        elif key == "default":
            # Whole objects: the API server checks a default against the rules before it fills in the defaults inside.
            clean[key] = _without_null(value)
        elif key not in _DROPPED and (key, value) != ("additionalProperties", True):
            clean[key] = value if key == "x-kubernetes-validations" else _structural(value, definitions)
    return clean


def _without_null(value: Any) -> Any:
    return {k: _without_null(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False, description: str) -> Schema:
    return {"name": name, "jsonPath": path, "type": kind, "priority": int(wide), "description": description}


_CONDITION = '.status.conditions[?(@.type=="{}")].{}'
_COLUMNS = [
    _column("Ready", _CONDITION.format("Ready", "status"), description="Everything that the spec asks for runs."),
    _column("Version", ".status.version", description="Version of the services."),
    _column("URL", ".status.url", description="Where the store answers."),
    _column("Age", ".metadata.creationTimestamp", "date", description="When it was made."),
    *(
        _column(name.title(), f".status.services.{name}.pods", wide=True, description=f"Pods of {name}, ready/wanted.")
        for name in ("customer", "product", "order", "shopping-command", "shopping-query")
    ),
    _column("Status", _CONDITION.format("Progressing", "message"), wide=True, description="What is under way."),
]


def definition() -> Schema:
    """The CustomResourceDefinition as the API server takes it."""
    body = schema(spec.WebStoreSpec)
    body["default"] = spec.WebStoreSpec().model_dump(mode="json", by_alias=True, exclude_none=True)
    validations = spec.rules(
        (
            f"self.metadata.name.matches('{spec.NAME_PATTERN}')",
            "the name of a WebStore begins with a letter and goes on with letters (lower case), digits and - up "
            "to a letter or digit: shop-2",
        )
    )
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{spec.PLURAL}.{spec.GROUP}"},
        "spec": {
            "group": spec.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": spec.KIND,
                "plural": spec.PLURAL,
                "singular": "webstore",
                "shortNames": ["ws"],
                "listKind": "WebStoreList",
            },
            "versions": [
                {
                    "name": spec.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _COLUMNS,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": "A web store of five services, with the database, Kafka and mail that "
                            "they need.",
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {
                                    "type": "object",
                                    "properties": {"name": {"type": "string", "maxLength": spec.NAME_LENGTH}},
                                },
                                "spec": body,
                                "status": schema(Status),
                            },
                            **validations,
                        }
                    },
                }
            ],
        },
    }


def text() -> str:
    """The definition as YAML, as it is checked in."""
    head = "# Made by `make crd` from operator/webstore_operator/spec.py and status.py; change those.\n"
    return head + yaml.safe_dump(definition(), sort_keys=False, allow_unicode=True, width=140)


if __name__ == "__main__":
    sys.stdout.write(text())
