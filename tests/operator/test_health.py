"""Why a store is not ready, in sentences."""

from typing import Any

import pytest

from webstore_operator.health import Problem, problems, refusal, workload

Object = dict[str, Any]


def pod(*, conditions: list[Object] | None = None, **container: Any) -> Object:
    labels = {"app.kubernetes.io/name": "order"}
    statuses = [{"name": "order", "image": "webstore/order:2", "restartCount": 4, "state": {}, **container}]
    return {
        "metadata": {"name": "store-order-1", "labels": labels},
        "status": {"conditions": conditions or [], "containerStatuses": statuses},
    }


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_cannot_be_pulled_is_named_with_the_field_to_correct(reason: str) -> None:
    (found,) = problems([pod(state={"waiting": {"reason": reason}})])
    assert found.reason == "ImageCannotBePulled"
    assert f"order: the image webstore/order:2 cannot be pulled ({reason})" in found.message
    assert "spec.version" in found.message


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ('secret "shop-db" not found', "shop-db"),
        ("couldn't find key order-password in Secret shop/shop-db", "shop-db with the key order-password"),
    ],
)
def test_a_secret_that_a_pod_waits_for_is_named(message: str, named: str) -> None:
    (found,) = problems([pod(state={"waiting": {"reason": "CreateContainerConfigError", "message": message}})])
    assert found == Problem("SecretMissing", f"order waits for the Secret {named}: create it, and the pod starts.")


def test_a_crash_loop_is_told_with_the_last_words() -> None:
    ended = {"exitCode": 1, "message": "starting\nWEBSTORE_DATABASE_URL is wrong: expected postgresql://…\n"}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    (found,) = problems([pod(state=waiting, lastState={"terminated": ended})])
    assert found.reason == "CrashLoop"
    assert "order (order) ends with code 1 each time it starts (4 restarts)." in found.message
    assert found.message.endswith("WEBSTORE_DATABASE_URL is wrong: expected postgresql://….")


def test_a_pod_that_is_killed_for_its_memory_use_says_so() -> None:
    ended = {"exitCode": 137, "reason": "OOMKilled"}
    (found,) = problems([pod(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": ended})])
    assert "was killed for its memory use" in found.message


def test_a_pod_that_no_node_takes_says_why() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes: Insufficient cpu",
    }
    (found,) = problems([pod(conditions=[condition])])
    assert found.message.startswith("No node takes order: 0/1 nodes: Insufficient cpu.")


def test_pods_that_are_starting_ready_or_going_are_no_problem() -> None:
    starting = pod(state={"waiting": {"reason": "ContainerCreating"}})
    ready = pod(conditions=[{"type": "Ready", "status": "True"}], state={"waiting": {"reason": "CrashLoopBackOff"}})
    going = pod(state={"waiting": {"reason": "ImagePullBackOff"}})
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert problems([starting, ready, going]) == []


def test_the_same_problem_of_many_pods_is_told_once_and_the_most_telling_first() -> None:
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no"}
    image = pod(state={"waiting": {"reason": "ErrImagePull"}})
    found = problems([pod(conditions=[unschedulable]), image, image])
    assert [problem.reason for problem in found] == ["ImageCannotBePulled", "Unschedulable"]


def deployment(**status: int) -> Object:
    return {"metadata": {"generation": 2, "labels": {}}, "spec": {"replicas": 2}, "status": status}


DONE = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        (DONE, True),
        ({}, False),
        (DONE | {"observedGeneration": 1}, False),
        (DONE | {"replicas": 3}, False),
        (DONE | {"updatedReplicas": 1}, False),
        (DONE | {"availableReplicas": 1}, False),
    ],
)
def test_a_workload_is_ready_when_all_its_pods_are_new_and_available_and_no_others_are_left(
    status: Object, ready: bool
) -> None:
    assert workload(deployment(**status), owns_replicas=True).ready is ready


def test_a_workload_that_an_autoscaler_lets_grow_stays_ready() -> None:
    growing = deployment(**DONE) | {"spec": {"replicas": 5}}
    assert workload(growing, owns_replicas=False).ready
    assert not workload(growing, owns_replicas=True).ready


def test_an_http_route_is_taken_when_a_controller_of_its_gateway_says_nothing_against_it() -> None:
    def said(accepted: str, resolved: str, *, by: str = "public") -> Object:
        conditions = [
            {"type": "Accepted", "status": accepted, "reason": "NotAllowedByListeners", "message": "Not from there"},
            {"type": "ResolvedRefs", "status": resolved, "reason": "BackendNotFound", "message": ""},
        ]
        return {"controllerName": "x/y", "parentRef": {"name": by, "namespace": "edge"}, "conditions": conditions}

    def refused(*parents: Object) -> str | None:
        spec = {"parentRefs": [{"name": "public", "namespace": "edge"}]}
        return refusal({"metadata": {"namespace": "shop"}, "spec": spec, "status": {"parents": list(parents)}})

    good, silent = said("True", "True"), {"controllerName": "x/y", "parentRef": {"name": "public", "namespace": "edge"}}
    assert refused() is None
    assert refused(silent) is None
    assert refused(said("True", "True", by="the one before")) is None
    assert refused(good) == ""
    assert refused(said("False", "True")) == "NotAllowedByListeners: Not from there."
    assert refused(said("False", "False")) == "NotAllowedByListeners: Not from there. BackendNotFound."
    assert refused(said("False", "True"), good) == ""  # the first is of a controller that is no more
