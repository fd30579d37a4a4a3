"""What a WebStore says about itself."""

from webstore_operator import status
from webstore_operator.health import Problem, Workload
from webstore_operator.status import Condition, Finding, Status


def said(
    finding: Finding, before: list[Condition] | None = None, now: str = "2026-01-01T00:00:00Z"
) -> dict[str, Condition]:
    return {c.type: c for c in status.conditions(finding, [], before or [], 3, now)}


def test_a_ready_store_is_neither_progressing_nor_degraded() -> None:
    found = said(Finding(ready=True, settled=("Ready", "All is ready.")))
    assert {kind: c.status for kind, c in found.items()} == {
        "Ready": "True",
        "Progressing": "False",
        "Degraded": "False",
    }
    assert {c.observed_generation for c in found.values()} == {3}


def test_who_asks_why_it_is_not_ready_reads_what_is_waited_for() -> None:
    found = said(Finding(ready=False, progress=("Installing", "Waiting for postgres.")))
    assert (found["Ready"].reason, found["Ready"].message) == ("Installing", "Waiting for postgres.")
    assert found["Progressing"].status == "True"


def test_all_problems_are_told_once_and_the_worst_gives_the_reason() -> None:
    image, node = Problem("ImageCannotBePulled", "No image."), Problem("Unschedulable", "No node.")
    found = said(Finding(ready=False, progress=("Updating", "Waiting."), problems=[image, node, image]))
    assert (found["Degraded"].status, found["Degraded"].reason) == ("True", "ImageCannotBePulled")
    assert found["Degraded"].message == "No image. No node."
    assert found["Ready"].message == "No image."


def test_the_time_of_a_condition_changes_only_with_its_status() -> None:
    first = list(said(Finding(ready=False, progress=("Installing", "a")), now="2026-01-01T00:00:00Z").values())
    second = list(said(Finding(ready=False, progress=("Installing", "b")), first, now="2026-01-02T00:00:00Z").values())
    third = said(Finding(ready=True), second, now="2026-01-03T00:00:00Z")
    assert {c.last_transition_time for c in second} == {"2026-01-01T00:00:00Z"}
    assert third["Ready"].last_transition_time == "2026-01-03T00:00:00Z"
    assert third["Degraded"].last_transition_time == "2026-01-01T00:00:00Z"


def test_events_tell_turns_and_not_every_count() -> None:
    def at(finding: Finding, before: Status) -> Status:
        return Status(conditions=status.conditions(finding, [], before.conditions, 1, "2026-01-01T00:00:00Z"))

    begun = at(Finding(ready=False, progress=("Installing", "0 of 5")), Status())
    counted = at(Finding(ready=False, progress=("Installing", "1 of 5")), begun)
    broken = at(
        Finding(ready=False, progress=("Installing", "1 of 5"), problems=[Problem("CrashLoop", "It crashes.")]), counted
    )
    ready = at(Finding(ready=True, settled=("Ready", "Ready.")), broken)
    assert status.events(Status(), begun) == [("Normal", "Installing", "0 of 5")]
    assert status.events(begun, counted) == []
    assert status.events(counted, broken) == [("Warning", "CrashLoop", "It crashes.")]
    assert status.events(broken, ready) == [
        ("Normal", "Ready", "Ready."),
        ("Normal", "Recovered", "No longer CrashLoop."),
    ]


def test_services_are_told_with_counts_and_versions() -> None:
    found = status.services(
        {"order": Workload("1.2", wanted=3, serving=2, ready_now=1, seen=True, old=0), "product": None}
    )
    assert found["order"].model_dump() == {"ready": 2, "replicas": 3, "pods": "2/3", "version": "1.2"}
    assert found["product"].pods == "0/0"
