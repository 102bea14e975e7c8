"""The kubernetes runner: an executor as a pod that outlives the task which started it."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from mir_ops.errors import ConflictError, InvalidInputError, MirError, StoreError
from mir_ops.executor.outputs import clear_outputs
from mir_ops.executor.pod_logs import PodLog
from mir_ops.executor.pod_states import PodState, read_state
from mir_ops.executor.pods import (
    GRACE_SECONDS,
    WorkVolume,
    executor_pod,
    find_work_volume,
    identity,
    pod_name,
)
from mir_ops.executor.runs import OnLog, OnProgress, Outcome, Watch, watched
from mir_ops.executor.usage import keep_usage

if TYPE_CHECKING:
    from mir_ops.executor.cluster import Cluster
    from mir_ops.executor.jobs import Job

_LOOK_SECONDS: Final = 0.5
_START_SECONDS: Final = 900.0  # a node may have to be made first
_IMAGE_SECONDS: Final = 120.0  # a registry may be away for a moment
_REMOVE_SECONDS: Final = 60.0
_LOG_TRIES: Final = 5  # of a pod that has ended: its result counts more
_NO_IMAGE: Final = ("ErrImagePull", "ImagePullBackOff")
_NEVER: Final = ("InvalidImageName", "ErrImageNeverPull")


class PodRun:
    """The pod of an operation, found again by its name."""

    def __init__(self, job: Job, *, cluster: Cluster) -> None:
        self.name = pod_name(job.op_id)
        self._job = job
        self._cluster = cluster
        self._uid: str | None = None
        self._started_at: float | None = None
        self._log = PodLog(job)

    @cached_property
    def _own(self) -> dict[str, Any]:
        return self._cluster.own_pod()

    @cached_property
    def _volume(self) -> WorkVolume:
        return find_work_volume(self._own, self._job.folder)

    def attach(self) -> bool:
        """A pod that waits or runs, or one that ended and of which nobody took the result.

        One that the cluster ended for reasons of its own goes, or that is of another work folder.
        """
        found = self._cluster.find_pod(self.name)
        if found is None:
            return False
        if read_state(found).stage in ("lost", "deleted") or not self._is_ours(found):
            self.remove()
            return False
        self._uid = found["metadata"]["uid"]
        self._log.resume()
        return True

    def start(self) -> None:
        pod = executor_pod(self._job, self._own, self._volume)
        clear_outputs(self._job)
        self._log.clear()
        try:
            found = self._cluster.create_pod(pod)
        except ConflictError:  # made a moment ago, and the answer was lost
            maybe = self._cluster.find_pod(self.name)
            if maybe is None or not self._is_ours(maybe):
                raise
            found = maybe
        self._uid = found["metadata"]["uid"]

    def follow(self, *, on_progress: OnProgress, on_log: OnLog) -> Outcome:
        """Follow to the end, over breaks of the connection to the API server.

        StoreError when the server stays away, when the pod finds no node, or loses the one it has.
        """
        watch = Watch(self._job, on_progress)
        try:
            with watched(watch, is_late=self._is_late, end=self._end) as reasons:
                state = self._followed_to_the_end(on_log)
        finally:
            self._log.settle()
        if state.started and state.finished:
            keep_usage(self._job, _seconds(state.finished) - _seconds(state.started))
        if reasons:
            return Outcome(exit_code=state.exit_code, reason=reasons[0])
        if state.stage == "deleted":
            return Outcome(exit_code=None, reason="its pod was deleted")
        if state.stage == "lost":
            raise StoreError(
                f"Kubernetes took the executor's pod `{self.name}` away: {state.told}",
                code="pod-lost",
                hint="The next try starts it anew",
            )
        return Outcome(exit_code=state.exit_code, reason=state.reason)

    def remove(self) -> None:
        """Delete the pod, and wait until its node has ended it: nothing writes any more then."""
        deadline = time.monotonic() + _REMOVE_SECONDS
        while (found := self._cluster.find_pod(self.name)) is not None:
            uid = found["metadata"]["uid"]
            self._cluster.delete_pod(self.name, uid=uid, grace_seconds=GRACE_SECONDS)
            if time.monotonic() > deadline:
                raise StoreError(
                    f"Pod `{self.name}` was deleted, and its node has not ended it yet",
                    code="pod-stays",
                    hint="If that node is off for good, run `kubectl delete pod --force "
                    f"--grace-period=0 -n {self._cluster.namespace} {self.name}`",
                )
            time.sleep(_LOOK_SECONDS)

    def _is_ours(self, found: dict[str, Any]) -> bool:
        """Whether it does this operation, and writes where we shall look."""
        said = found["metadata"].get("annotations", {})
        ours = identity(self._job, self._volume)
        return all(said.get(key) == ours[key] for key in ("mir.operation", "mir.outputs"))

    def _followed_to_the_end(self, on_log: OnLog) -> PodState:
        since, told, tries = time.monotonic(), "", _LOG_TRIES
        while True:
            found = self._cluster.find_pod(self.name)
            if found is None or found["metadata"]["uid"] != self._uid:
                return PodState(stage="deleted")
            state = read_state(found)
            if state.stage == "waiting":
                if state.told != told:
                    told = state.told
                    on_log(f"Waiting for its pod: {told}\n".encode())
                self._check_patience(state, time.monotonic() - since)
            else:
                self._started_at = _seconds(state.started) if state.started else self._started_at
                whole = self._log.pass_on(self._cluster, self.name, on_log)
                tries -= state.stage != "running"
                if state.stage != "running" and (whole or not tries or state.stage != "ended"):
                    return state
            time.sleep(_LOOK_SECONDS)

    def _check_patience(self, state: PodState, waited: float) -> None:
        image = self._job.image.image
        if state.word in _NEVER or (state.word in _NO_IMAGE and waited > _IMAGE_SECONDS):
            raise InvalidInputError(
                f"The cluster cannot pull `{image}`: {state.told}",
                code="no-such-image",
                hint="Push it where the nodes pull from, or name a pull secret in the task's pod",
            )
        if waited > _START_SECONDS:
            raise StoreError(
                f"The pod of `{image}` did not start within {_START_SECONDS / 60:.0f} minutes: "
                f"{state.told}",
                code="pod-not-started",
                hint="The next try waits on. `kubectl describe pod -n "
                f"{self._cluster.namespace} {self.name}` has the whole of it",
            )

    def _is_late(self) -> bool:
        limit = self._job.limits.time_seconds
        return self._started_at is not None and time.time() - self._started_at > limit

    def _end(self, over: Event) -> None:
        """At a limit: ask until somebody hears, or the pod has ended by itself."""
        assert self._uid is not None
        while not over.wait(_LOOK_SECONDS):
            with suppress(MirError):
                self._cluster.delete_pod(self.name, uid=self._uid, grace_seconds=1)
                break


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
