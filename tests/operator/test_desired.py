"""What a store should consist of, without a cluster: spec → values → objects."""

import shutil
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.needs import missing
from tests.operator.process import ROOT, chart
from webstore_operator import crd
from webstore_operator.credentials import KEYS, wanted
from webstore_operator.desired import EMPTY, Owner, Plan, Ref, Renderer, RenderError, build, revision, values
from webstore_operator.kinds import KINDS
from webstore_operator.settings import RELEASE, Settings
from webstore_operator.spec import MOST_PODS, WebStoreSpec

OWNER = Owner("shop", "store", "uid-1")


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    if not shutil.which("helm"):
        missing("helm on the PATH: https://helm.sh/docs/intro/install/")
    return Renderer(Settings().chart)


async def plan(renderer: Renderer, **spec: Any) -> Plan:
    return await renderer.plan(OWNER, values(WebStoreSpec.model_validate(spec), OWNER.name, "1"))


def test_the_checked_in_definition_is_what_the_models_make() -> None:
    assert (ROOT / "crds/webstores.yaml").read_text() == crd.text(), "run `make crd`"


def test_every_field_is_documented() -> None:
    def undocumented(schema: dict[str, Any], path: str) -> list[str]:
        found = [] if "description" in schema else [path]
        for name, field in schema.get("properties", {}).items():
            found += undocumented(field, f"{path}.{name}")
        return found

    version = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    assert undocumented(version["spec"], "spec") == []
    assert undocumented(version["status"], "status") == []


def test_the_spec_has_every_value_that_the_parts_share_and_the_same_defaults() -> None:
    chart = yaml.safe_load((ROOT / "charts/webstore/values.yaml").read_text())
    ours = values(WebStoreSpec(), "store", "7")
    assert ours["global"] == chart["global"] | {"credentialsSecret": "store-credentials", "credentialsRevision": "7"}
    services = {name: section for name, section in chart.items() if isinstance(section, dict) and "replicas" in section}
    assert set(ours) - {"global"} == set(services)
    for section in services.values():
        assert section["replicas"] == 1, "what the spec says where neither replicas nor autoscaling is set"


def test_the_operators_release_is_the_charts(renderer: Renderer) -> None:
    chart = yaml.safe_load((ROOT / "charts/webstore/Chart.yaml").read_text())
    assert chart["appVersion"] == RELEASE


async def test_every_object_belongs_to_the_store(renderer: Renderer) -> None:
    smallest = await plan(renderer)
    for ref, body in smallest.objects(smallest.wanted).items():
        metadata = body["metadata"]
        assert metadata["namespace"] == "shop"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "webstore-operator"
        assert metadata["labels"]["app.kubernetes.io/instance"] == "store"
        (owner,) = metadata["ownerReferences"]
        assert owner == {
            "apiVersion": "webstore.dev/v1",
            "kind": "WebStore",
            "name": "store",
            "uid": "uid-1",
            "controller": True,
            "blockOwnerDeletion": False,
        }
        assert ref.kind in KINDS


async def test_systems_come_first_and_a_service_after_those_that_it_calls(renderer: Renderer) -> None:
    stages = {ref.name.removeprefix("store-"): wanted.stage for ref, wanted in (await plan(renderer)).wanted.items()}
    assert (stages["postgres"], stages["kafka"], stages["mailpit"]) == (0, 0, 0)
    assert stages["product"] == stages["customer"] == 1
    assert stages["order"] == stages["shopping-command"] == 2
    assert stages["shopping-query"] == 3


async def test_a_store_is_rendered_once_for_each_spec(renderer: Renderer) -> None:
    assert await plan(renderer, version="1.0") is await plan(renderer, version="1.0")
    assert await plan(renderer, version="1.0") is not await plan(renderer, version="1.1")


async def test_new_credentials_change_exactly_the_workloads_that_read_them(renderer: Renderer) -> None:
    def objects(plan: Plan) -> dict[Ref, bytes]:
        return {ref: wanted.digest for ref, wanted in plan.wanted.items()}

    spec = WebStoreSpec()
    first = objects(await renderer.plan(OWNER, values(spec, "store", "1")))
    second = objects(await renderer.plan(OWNER, values(spec, "store", "2")))
    changed = {ref.name.removeprefix("store-") for ref in first if first[ref] != second[ref]}
    assert changed == {"customer", "product", "order", "shopping-command", "shopping-query", "postgres"}


@pytest.mark.parametrize(
    ("resources", "limits"),
    [
        ({}, {"memory": "256Mi"}),
        ({"requests": {"cpu": "200m"}}, {"memory": "256Mi"}),
        ({"requests": {"memory": "512Mi"}}, {}),
        ({"requests": {"memory": "512Mi"}, "limits": {"cpu": 2}}, {"cpu": 2}),
        ({"requests": {"memory": "512Mi"}, "limits": {"memory": "1Gi"}}, {"memory": "1Gi"}),
    ],
    ids=["nothing set", "CPU requested", "memory requested", "CPU limited", "memory limited"],
)
async def test_the_charts_limit_of_memory_gives_way_to_a_request(
    renderer: Renderer, resources: dict[str, Any], limits: dict[str, Any]
) -> None:
    found = await plan(renderer, services={"order": {"resources": resources}})
    order = Ref("Deployment", "store-order")
    pod = found.objects([order])[order]["spec"]["template"]["spec"]
    for container in pod["initContainers"] + pod["containers"]:
        assert container["resources"]["limits"] == limits


def test_a_revision_changes_with_the_spec_and_with_the_operators_release() -> None:
    spec = WebStoreSpec()
    assert revision(spec, "1") == revision(WebStoreSpec(), "1")
    assert revision(spec, "1") != revision(spec, "2")
    assert revision(spec, "1") != revision(WebStoreSpec(version="2"), "1")


async def test_what_helm_refuses_is_an_error_with_its_words(renderer: Renderer) -> None:
    with pytest.raises(RenderError, match="nonsense"):
        await renderer.plan(OWNER, {"nonsense": True})


def test_an_object_that_the_operator_may_not_touch_is_refused() -> None:
    role = b"{kind: ClusterRole, apiVersion: v1, metadata: {name: mighty}}"
    with pytest.raises(RenderError, match="ClusterRole mighty"):
        build(OWNER, role)
    elsewhere = b"{kind: ConfigMap, apiVersion: v1, metadata: {name: a, namespace: kube-system}}"
    with pytest.raises(RenderError, match="ConfigMap a"):
        build(OWNER, elsewhere)


EVERYTHING: dict[str, Any] = {
    "tracing": {"enabled": True},
    "logging": {"enabled": True},
    "metrics": {"monitors": True},
    "services": {"order": {"autoscaling": {"max": 3}}},
}


async def test_the_kinds_that_the_operator_may_change_are_those_that_a_store_is_made_of(renderer: Renderer) -> None:
    made = {"Secret"}
    for spec in (EVERYTHING, {"gateway": {"parent": {"name": "entrance"}}}):
        made |= {ref.kind for ref in (await plan(renderer, **spec)).wanted}
    assert set(KINDS) == made


def test_the_operators_role_lets_it_change_these_kinds_and_no_others(renderer: Renderer) -> None:
    [role] = [body for body in chart() if body["kind"] == "ClusterRole"]
    changed = {
        (group, plural)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for plural in rule["resources"]
        if "patch" in rule["verbs"] and "/" not in plural
    }
    assert changed == {(kind.api_version.rpartition("/")[0], kind.plural) for kind in KINDS.values()}


def test_nothing_is_wanted_of_an_empty_plan() -> None:
    assert EMPTY.objects([Ref("ConfigMap", "a")]) == {}


def test_the_secrets_that_a_spec_names_are_known_with_their_keys() -> None:
    spec = WebStoreSpec.model_validate(
        {
            "database": {"external": {"host": "db", "secret": "db-users", "caSecret": "db-ca"}},
            "kafka": {"external": {"bootstrapServers": "k:1", "secret": "kafka-user", "caSecret": "kafka-ca"}},
            "logging": {"enabled": True, "external": {"url": "https://es", "secret": "es-user"}},
            "mail": {"host": "smtp", "secret": "smtp-user"},
            "ingress": {"host": "a.b", "tlsSecret": "tls"},
            "images": {"pullSecrets": ["pull"]},
        }
    )
    names = {field: name for field, name, _ in wanted(spec)}
    assert names == {
        "database.external.secret": "db-users",
        "database.external.caSecret": "db-ca",
        "kafka.external.secret": "kafka-user",
        "kafka.external.caSecret": "kafka-ca",
        "logging.external.secret": "es-user",
        "mail.secret": "smtp-user",
        "ingress.tlsSecret": "tls",
        "images.pullSecrets": "pull",
    }
    assert len(KEYS) == 7


words = st.from_regex(r"\A[a-z]([a-z0-9-]{0,8}[a-z0-9])?\Z")
text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=30)
config = st.dictionaries(st.from_regex(r"\AWEBSTORE_[A-Z]{1,12}_[XYZ]\Z"), text, max_size=3)
# Of five services not more pods than the store's own PostgreSQL serves.
replicas = st.fixed_dictionaries({"replicas": st.integers(1, MOST_PODS // 5)})
scaled = st.builds(
    lambda low, more, cpu: {
        "autoscaling": {"min": low, "max": low + more, "cpu": cpu},
        "resources": {"requests": {"cpu": "100m"}},
    },
    st.integers(1, 3),
    st.integers(0, MOST_PODS // 5 - 3),
    st.integers(1, 100),
)
service = st.one_of(st.just({}), replicas, scaled, st.fixed_dictionaries({"config": config}))
specs = st.fixed_dictionaries(
    {},
    optional={
        "version": st.from_regex(r"\A[0-9]\.[0-9]\.[0-9](-rc[0-9])?\Z"),
        "ingress": st.fixed_dictionaries({"host": words, "annotations": st.dictionaries(words, text, max_size=2)}),
        "gateway": st.fixed_dictionaries({"parent": st.fixed_dictionaries({"name": words})}),
        "config": config,
        "database": st.one_of(
            st.fixed_dictionaries({"storage": st.fixed_dictionaries({"size": st.sampled_from(["1Gi", "10Gi"])})}),
            st.fixed_dictionaries({"external": st.fixed_dictionaries({"host": words, "port": st.integers(1, 65535)})}),
        ),
        "kafka": st.fixed_dictionaries({"replicas": st.sampled_from([1, 3])}),
        "tracing": st.fixed_dictionaries({"enabled": st.booleans(), "sampling": st.floats(0, 1, width=16)}),
        "mail": st.fixed_dictionaries({"host": words}),
        "auth": st.just({"mode": "oidc", "issuer": "https://login.example.com/", "audience": "shop"}),
        "networkPolicies": st.booleans(),
        "deletionPolicy": st.sampled_from(["Retain", "Delete"]),
        "services": st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(("customer", "product", "order", "shoppingCommand", "shoppingQuery"), service),
        ),
    },
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specs)
async def test_every_valid_spec_renders(renderer: Renderer, spec: dict[str, Any]) -> None:
    model = WebStoreSpec.model_validate(spec)
    found = await renderer.plan(OWNER, values(model, OWNER.name, "1"))
    assert {f"store-{name}" for name in ("customer", "product", "order", "shopping-command", "shopping-query")} <= {
        ref.name for ref in found.wanted if ref.kind == "Deployment"
    }
    again = WebStoreSpec.model_validate(model.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert again == model, "what the status keeps is the same spec"
