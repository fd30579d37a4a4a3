"""What a WebStore says about itself: the models of its status, and how a finding becomes conditions. Pure, no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, WithJsonSchema

from webstore_operator.health import Problem, Workload
from webstore_operator.spec import Model, WebStoreSpec

READY, PROGRESSING, DEGRADED = "Ready", "Progressing", "Degraded"


class Condition(Model):
    """One answer, in the form of https://pkg.go.dev/k8s.io/apimachinery/pkg/apis/meta/v1#Condition."""

    type: str = Field(description="Ready, Progressing or Degraded.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it is so.")
    reason: str = Field(description="Why, in one word.")
    message: str = Field(description="Why, and what to do, in sentences.")
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = Field(
        description="When status changed last."
    )
    observed_generation: int = Field(description="The generation of the WebStore that this is about.")


class ServiceStatus(Model):
    """One service as it runs."""

    ready: int = Field(description="Pods that are ready.")
    replicas: int = Field(description="Pods that are wanted.")
    pods: str = Field(description="Both, as `2/3`.")
    version: str = Field(description="Version that it was last told to run.")


def _without_empty(spec: WebStoreSpec) -> dict[str, Any]:
    """The spec without empty maps and lists: where the schema is open, server-side apply makes null of them."""

    def clean(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: kept for name, field in value.items() if (kept := clean(field)) not in (None, {}, [])}

    return dict(clean(spec.model_dump(mode="json", by_alias=True)))


class LastReady(Model):
    """The spec with which everything was last ready; a failed change is rolled back to it."""

    revision: str = Field(description="Digest of what was rolled out.")
    release: str = Field(description="Release of the operator whose charts were used.")
    version: str = Field(description="Version of the services.")
    spec: Annotated[
        WebStoreSpec,
        PlainSerializer(_without_empty),
        WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
    ] = Field(description="The spec.")


class Rollout(Model):
    """A change that is under way."""

    revision: str = Field(description="Digest of what is being rolled out.")
    stage: int = Field(description="Stage that is waited for: 0 supporting systems, then services.")
    since: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = Field(
        description="When that stage began, or a pod more became ready, or the operator could go on."
    )
    ready: int = Field(0, description="The most pods of the change that were ready since.")


class RolledBack(Model):
    """A change that was given up; it is tried again when the spec changes."""

    revision: str = Field(description="Digest of what was given up.")
    message: str = Field(description="Why.")


class Status(Model):
    """What the operator last saw."""

    observed_generation: int | None = Field(None, description="The generation of the WebStore that this is about.")
    conditions: Annotated[
        list[Condition],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = Field([], description="Ready, Progressing and Degraded, each with reason and message.")
    version: str = Field("", description="Version that all services run; during an upgrade, the one they come from.")
    url: str = Field("", description="Where the store answers.")
    traces: str = Field("", description="Where to look at traces.")
    logs: str = Field("", description="Where to look at the log.")
    services: dict[str, ServiceStatus] = Field({}, description="Each service as it runs.")
    last_ready: LastReady | None = Field(None, description="The spec with which everything was last ready.")
    rollout: Rollout | None = Field(None, description="The change that is under way.")
    rolled_back: RolledBack | None = Field(None, description="The change that was given up.")

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type."""
        return next((c for c in self.conditions if c.type == kind), None)


def pages(spec: WebStoreSpec, name: str) -> dict[str, str]:
    """Where people look at the traces and the log of a store of this name: a URL, or how to come to one."""

    def page(system: str, port: int, host: str) -> str:
        if host and spec.ingress.enabled:
            return f"http://{host}"
        return f"http://localhost:{port} after kubectl port-forward service/{name}-{system} {port}"

    tracing, logging = spec.tracing, spec.logging
    log = page("kibana", 5601, logging.host) if logging.kibana else page("elasticsearch", 9200, "")
    return {
        "traces": (tracing.external.endpoint or page("zipkin", 9411, tracing.host)) if tracing.enabled else "",
        "logs": (logging.external.url or log) if logging.enabled else "",
    }


@dataclass(frozen=True, slots=True)
class Finding:
    """What a reconcile came to, in the words of people.

    Attributes:
        progress: reason and message while something is under way.
        problems: what will not go away by waiting, worst first.
        settled: reason and message when nothing is under way.
    """

    ready: bool
    settled: tuple[str, str] = ("Settled", "Nothing is under way.")
    progress: tuple[str, str] | None = None
    problems: Sequence[Problem] = ()


def conditions(
    finding: Finding, besides: Sequence[Problem], before: Sequence[Condition], generation: int, now: str
) -> list[Condition]:
    """The three conditions; the time of one that has not turned is kept.

    Args:
        besides: problems that keep no store from being ready.
    """
    progress, problems = finding.progress, [*finding.problems, *besides]
    said = {
        READY: (
            ("True", *finding.settled)
            if finding.ready
            else ("False", finding.problems[0].reason, finding.problems[0].message)
            if finding.problems
            else ("False", *(progress or finding.settled))
        ),
        PROGRESSING: ("True", *progress) if progress else ("False", *finding.settled),
        DEGRADED: (
            ("True", problems[0].reason, " ".join(dict.fromkeys(p.message for p in problems)))
            if problems
            else ("False", "AsExpected", "Nothing is wrong.")
        ),
    }
    earlier = {c.type: c for c in before}
    return [
        Condition(
            type=kind,
            status=status,
            reason=reason,
            message=message[:1000],
            last_transition_time=(
                earlier[kind].last_transition_time if kind in earlier and earlier[kind].status == status else now
            ),
            observed_generation=generation,
        )
        for kind, (status, reason, message) in said.items()
    ]


def services(workloads: Mapping[str, Workload | None]) -> dict[str, ServiceStatus]:
    """Each service (by its name) as its Deployment tells; one without a Deployment has no pods."""
    return {
        name: ServiceStatus(
            ready=w.serving if w else 0,
            replicas=w.wanted if w else 0,
            pods=f"{w.serving}/{w.wanted}" if w else "0/0",
            version=w.version if w else "",
        )
        for name, w in workloads.items()
    }


def events(before: Status, after: Status) -> list[tuple[str, str, str]]:
    """What to tell as Events (type, reason, message): conditions that turned, or whose reason did."""
    told = []
    for condition in after.conditions:
        earlier = before.condition(condition.type)
        if earlier and (earlier.status, earlier.reason) == (condition.status, condition.reason):
            continue
        if condition.type == DEGRADED and condition.status == "True":
            told.append(("Warning", condition.reason, condition.message))
        elif condition.type == DEGRADED and earlier and earlier.status == "True":
            told.append(("Normal", "Recovered", f"No longer {earlier.reason}."))
        elif condition.type == READY and condition.status == "True":
            told.append(("Normal", "Ready", condition.message))
        elif condition.type == PROGRESSING and (condition.status == "True" or condition.reason == "Paused"):
            told.append(("Normal", condition.reason, condition.message))
    return told
