"""What Kubernetes says of an executor's pod, as the few cases that the runner tells apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from mir_ops.executor.files import printable

# `lost`: by no fault of the executor, so another try may have better luck.
Stage = Literal["waiting", "running", "ended", "lost", "deleted"]

_DEADLINE: Final = "DeadlineExceeded"
_NODES_NEED: Final = "The node "  # so evictions begin that are not for a limit of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """`word` is the cluster's own for it, such as `Unschedulable` or `OOMKilled`."""

    stage: Stage
    word: str = ""
    told: str = ""
    exit_code: int | None = None
    started: str | None = None
    finished: str | None = None

    @property
    def reason(self) -> str | None:
        """Why the cluster ended it, if it did."""
        if self.word == _DEADLINE:
            return "time-limit"
        if self.word == "OOMKilled":
            return "it used more memory than its limit"
        return f"it was evicted: {self.told}" if self.word == "Evicted" else None


def read_state(pod: Mapping[str, Any]) -> PodState:
    """The state of an executor's pod, which has one container and starts it once."""
    status = pod["status"]
    statuses = status.get("containerStatuses") or [{}]
    container = statuses[0].get("state", {})
    ended = container.get("terminated")
    if status.get("phase") == "Succeeded":
        return _ended(ended or {"exitCode": 0})
    disrupted = _condition(pod, "DisruptionTarget", "True")
    if "deletionTimestamp" in pod["metadata"]:
        return _gone(disrupted)
    if status.get("phase") == "Failed":
        return _failed(status, ended, disrupted)
    if "running" in container or ended:
        return PodState(
            stage="running", started=container.get("running", ended or {}).get("startedAt")
        )
    return _waiting(pod, container.get("waiting", {}))


def _ended(container: Mapping[str, Any], *, word: str = "", told: str = "") -> PodState:
    return PodState(
        stage="ended",
        word=word or str(container.get("reason", "")),
        told=printable(told),
        exit_code=container.get("exitCode"),
        started=container.get("startedAt"),
        finished=container.get("finishedAt"),
    )


def _gone(disrupted: Mapping[str, Any] | None) -> PodState:
    """Somebody deletes it: a person, or the cluster, which says so."""
    if disrupted is None:
        return PodState(stage="deleted")
    return _lost(disrupted.get("reason", ""), disrupted.get("message", ""))


def _failed(
    status: Mapping[str, Any],
    ended: Mapping[str, Any] | None,
    disrupted: Mapping[str, Any] | None,
) -> PodState:
    word, told = status.get("reason", ""), status.get("message", "")
    if word == _DEADLINE:
        return _ended(ended or {}, word=word)
    if word == "Evicted" and not told.startswith(_NODES_NEED):
        return _ended(ended or {}, word=word, told=told)
    if disrupted is not None:
        return _lost(word or disrupted.get("reason", ""), told or disrupted.get("message", ""))
    if word or ended is None or ended.get("reason") == "ContainerStatusUnknown":
        return _lost(word or "ContainerStatusUnknown", told)
    return _ended(ended)


def _waiting(pod: Mapping[str, Any], waiting: Mapping[str, Any]) -> PodState:
    unscheduled = _condition(pod, "PodScheduled", "False") or {}
    said = waiting or unscheduled
    return PodState(
        stage="waiting",
        word=str(said.get("reason", "")),
        told=printable(str(said.get("message") or said.get("reason") or "no node looked at it")),
    )


def _lost(word: str, told: str) -> PodState:
    return PodState(stage="lost", word=word, told=printable(f"{word}: {told}" if told else word))


def _condition(pod: Mapping[str, Any], kind: str, value: str) -> Mapping[str, Any] | None:
    conditions = pod["status"].get("conditions", ())
    found = (one for one in conditions if one["type"] == kind and one["status"] == value)
    return next(found, None)
