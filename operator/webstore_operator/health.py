"""Is a Deployment or StatefulSet ready, is an HTTPRoute taken, and if not, why: in sentences that say what to do. Pure,
no I/O.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from webstore_operator.desired import NAME

Object = Mapping[str, Any]

_LONGEST_ANSWER = 200
_PULL_ERRORS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}


@dataclass(frozen=True, slots=True)
class Workload:
    """What is kept of a Deployment or StatefulSet: the little that tells whether it is ready.

    Attributes:
        serving: pods that are ready, old ones included.
        ready_now: pods that are ready and up to date, at least.
        old: pods that are not up to date.
    """

    version: str
    wanted: int
    serving: int
    ready_now: int
    seen: bool
    old: int
    owns_replicas: bool = False
    update_revision: str = ""

    @property
    def ready(self) -> bool:
        """All wanted pods are up to date and available, and no others are left (what `kubectl rollout status` waits
        for).

        Where an autoscaler decides on their number, one is enough: that it asks for more does not mean that the store
        is not ready.
        """
        enough = self.wanted if self.owns_replicas else min(self.wanted, 1)
        return self.seen and self.old == 0 and self.ready_now >= enough


def workload(body: Object, *, owns_replicas: bool = False) -> Workload:
    """Reads a Deployment or StatefulSet.

    Args:
        owns_replicas: whether the operator, rather than an autoscaler, decides on the number of pods.
    """
    metadata, spec, status = body["metadata"], body["spec"], body.get("status", {})
    updated = status.get("updatedReplicas", 0)
    available = status.get("availableReplicas", 0)
    old = status.get("replicas", 0) - updated
    return Workload(
        version=metadata.get("labels", {}).get("app.kubernetes.io/version", ""),
        wanted=spec.get("replicas", 1),
        serving=available,
        ready_now=max(0, min(updated, available - old)),
        seen=status.get("observedGeneration", 0) >= metadata.get("generation", 0),
        old=old,
        owns_replicas=owns_replicas,
        update_revision=status.get("updateRevision", ""),
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not go away by waiting."""

    reason: str
    message: str


def problems(pods: Iterable[Object]) -> list[Problem]:
    """Why pods are not ready, the most telling first; nothing about pods that are merely starting."""
    found = [problem for pod in pods if not is_ready(pod) for problem in _of_pod(pod)]
    order = {"ImageCannotBePulled": 0, "SecretMissing": 1, "CannotStart": 2, "CrashLoop": 3, "Unschedulable": 4}
    return sorted(dict.fromkeys(found), key=lambda p: order[p.reason])


def is_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is true."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def part(body: Object) -> str:
    """What the object belongs to: its app.kubernetes.io/name, else its own name."""
    name: str = body["metadata"].get("labels", {}).get(NAME) or body["metadata"]["name"]
    return name


def refusal(route: Object) -> str | None:
    """What its Gateway has against an HTTPRoute; empty: nothing; None: it has not answered.

    https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus
    """
    wanted = [_place(ref, route) for ref in route["spec"].get("parentRefs", [])]
    # What an earlier Gateway said stays there, and so does what an earlier controller of this one said.
    answers = [
        _against(parent)
        for parent in route.get("status", {}).get("parents", [])
        if _place(parent["parentRef"], route) in wanted and parent.get("conditions")
    ]
    return min(answers, key=len, default=None)


def _against(parent: Object) -> str:
    said = (
        _sentence(": ".join(filter(None, (condition["reason"], condition.get("message", "")[:_LONGEST_ANSWER]))))
        for condition in parent["conditions"]
        if condition["type"] in ("Accepted", "ResolvedRefs") and condition["status"] == "False"
    )
    return " ".join(said)


def _place(ref: Object, route: Object) -> tuple[str, str, str]:
    return ref["name"], ref.get("namespace", route["metadata"]["namespace"]), ref.get("sectionName", "")


def _of_pod(pod: Object) -> Iterable[Problem]:
    if pod["metadata"].get("deletionTimestamp"):
        return
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            yield Problem(
                "Unschedulable",
                f"No node takes {part(pod)}: {_sentence(condition.get('message', ''))} Add nodes, or ask for "
                f"less in spec.services.",
            )
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        problem = _of_container(part(pod), container)
        if problem:
            yield problem


def _of_container(name: str, container: Object) -> Problem | None:
    waiting = container.get("state", {}).get("waiting") or {}
    reason, detail = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _PULL_ERRORS:
        return Problem(
            "ImageCannotBePulled",
            f"{name}: the image {container['image']} cannot be pulled ({reason}). Correct spec.version, "
            f"spec.images.registry or "
            "spec.images.pullSecrets.",
        )
    if reason == "CreateContainerConfigError":
        secret = re.search(r'secret "([^"]+)" not found|key (\S+) in Secret (\S+)', detail)
        if secret:
            what = secret[1] or f"{secret[3].rpartition('/')[2]} with the key {secret[2]}"
            return Problem("SecretMissing", f"{name} waits for the Secret {what}: create it, and the pod starts.")
        return Problem("CannotStart", f"{name} cannot start: {_sentence(detail)}")
    if reason in ("CreateContainerError", "RunContainerError"):
        return Problem("CannotStart", f"{name} cannot start: {_sentence(detail)}")
    if reason == "CrashLoopBackOff":
        ended = container.get("lastState", {}).get("terminated") or {}
        words = (ended.get("message") or "").strip().splitlines()[-3:]
        last = f" Its last words: {_sentence(' / '.join(words)[-400:])}" if words else ""
        how = (
            "was killed for its memory use"
            if ended.get("reason") == "OOMKilled"
            else f"ends with code {ended.get('exitCode', '?')}"
        )
        return Problem(
            "CrashLoop",
            f"{name} ({container['name']}) {how} each time it starts ({container.get('restartCount', 0)} "
            f"restarts).{last}",
        )
    return None


def _sentence(text: str) -> str:
    text = text.strip() or "no reason is given"
    return text if text[-1] in ".!?" else text + "."
