"""What the API server takes of a WebStore, the charts take."""

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.charts.rendering import CHARTS
from webstore_operator import crd, spec
from webstore_operator.desired import values

DEFINITION = crd.schema(spec.WebStoreSpec)
SETTINGS = st.from_regex(spec.SETTING, fullmatch=True).filter(lambda name: not re.search(spec.SECRET_SETTING, name))


def taken(schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """What a schema of the definition lets through, with every field that it has."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.integers(0, 9) | st.from_regex(schema["pattern"].removesuffix("$") + r"\Z")
    match schema["type"]:
        case "object" if "properties" in schema:
            return st.fixed_dictionaries({key: taken(field, key) for key, field in schema["properties"].items()})
        case "object":
            keys = SETTINGS if name == "config" else st.text(max_size=9)
            return st.dictionaries(keys, taken(schema["additionalProperties"]), max_size=2)
        case "array":
            return st.lists(taken(schema["items"]), max_size=2)
        case "string":
            least, most = schema.get("minLength", 0), schema.get("maxLength", 99)
            if "pattern" not in schema:
                return st.text(min_size=least, max_size=min(most, 20))
            return st.from_regex(schema["pattern"].removesuffix("$") + r"\Z").filter(lambda text: len(text) <= most)
        case "integer" if (name, schema["maximum"]) == ("replicas", 3):
            return st.sampled_from([1, 3])  # a rule says so
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "number":
            return st.floats(schema["minimum"], schema["maximum"])
        case "boolean":
            return st.booleans()
    raise AssertionError(f"a type that is not known here: {schema}")


@settings(
    max_examples=50,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink a whole spec takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(given=taken(DEFINITION))
def test_what_the_definition_takes_the_charts_schemas_take(given: dict[str, Any]) -> None:
    told = values(spec.WebStoreSpec.model_validate(given), "store", "1")
    shared = json.loads((CHARTS / "webstore-lib/values.schema.json").read_text())
    service = json.loads((CHARTS / "order/values.schema.json").read_text())
    jsonschema.validate({"global": told.pop("global")}, shared)
    for section in told.values():
        limits = section["resources"].get("limits", {})
        if limits.get("memory", "") is None:  # which takes the chart's own out before Helm looks at the schema
            del limits["memory"]
        jsonschema.validate(section, service)


@pytest.mark.parametrize("chart", ["webstore-lib", "order"])
def test_settings_have_the_same_names_everywhere(chart: str) -> None:
    assert json.dumps(spec.SETTING) in (CHARTS / chart / "values.schema.json").read_text()


def test_the_same_settings_look_like_secrets_everywhere() -> None:
    assert f'regexMatch "{spec.SECRET_SETTING}"' in (CHARTS / "webstore-lib/templates/_check.tpl").read_text()


def test_a_rule_escapes_what_is_a_word_of_cels() -> None:
    rules = [line for line in yaml.safe_dump(crd.definition(), width=9999).splitlines() if "rule: " in line]
    assert rules
    assert not [rule for rule in rules if re.search(r"\.(namespace|package|import|function|for|in|as|if)\b", rule)]
