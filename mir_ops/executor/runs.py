"""Running a job to its end, by either runner: the same steps, and the same words when it fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, Protocol

from mir_ops.errors import InvalidInputError
from mir_ops.executor.jobs import Job
from mir_ops.executor.monitor import Progress, check_outcome, follow_monitor
from mir_ops.executor.owners import owning
from mir_ops.executor.reaping import remove_orphans

if TYPE_CHECKING:
    from docker import APIClient
    from mir_ops.executor.cluster import Cluster

OnProgress = Callable[[Progress], None]
OnLog = Callable[[bytes], None]

_FOLLOW_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 2.0
_MOST_FILES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an executor ended; `reason` says why the host ended it, if it did."""

    exit_code: int | None
    reason: str | None = None


class Run(Protocol):
    """One execution of a job. It survives the process that started it, until `remove`."""

    def attach(self) -> bool:
        """Take over what an earlier try of this job started; False when there is nothing."""

    def start(self) -> None: ...

    def follow(self, *, on_progress: OnProgress, on_log: OnLog) -> Outcome:
        """Wait for the end; errors of the engine leave the executor running."""

    def remove(self) -> None:
        """End what still runs, and forget it. Harmless when there is nothing."""


def open_run(
    job: Job,
    *,
    runner: str,
    engine: APIClient | None = None,
    cluster: Cluster | None = None,
    keep_seconds: float = 0.0,
) -> Run:
    """The run of a job. `keep_seconds` is how long a child process waits for another task."""
    if runner == "process":
        from mir_ops.executor.process import ProcessRun

        return ProcessRun(job, keep_seconds=keep_seconds)
    if runner == "docker":
        from mir_ops.executor.engine import ContainerRun

        assert engine is not None, "a container needs an engine"
        return ContainerRun(job, engine=engine)
    if runner == "kubernetes":
        from mir_ops.executor.cluster import open_cluster
        from mir_ops.executor.pod_runs import PodRun

        return PodRun(job, cluster=cluster or open_cluster())
    raise InvalidInputError(
        f"Runner `{runner}` is not one of: process, docker, kubernetes", code="no-such-runner"
    )


def run_job(
    job: Job,
    *,
    runner: str = "process",
    engine: APIClient | None = None,
    cluster: Cluster | None = None,
    on_progress: OnProgress | None = None,
    on_log: OnLog | None = None,
) -> None:
    """Run the job to its end, or raise `ExecutorFailedError`; nothing is left running.

    A container that an earlier, killed call of the same job left is taken over; what killed
    commands left that nobody can take over is removed.
    """
    with owning(job.folder.parent, job.op_id), ExitStack() as stack:
        if runner == "docker" and engine is None:
            from mir_ops.executor.engine import open_engine

            engine = stack.enter_context(closing(open_engine()))
        if runner == "kubernetes" and cluster is None:
            from mir_ops.executor.cluster import open_cluster

            cluster = stack.enter_context(closing(open_cluster()))
        if engine is not None:
            remove_orphans(engine)
        run = open_run(job, runner=runner, engine=engine, cluster=cluster)
        try:
            if not run.attach():
                run.start()
            outcome = run.follow(on_progress=on_progress or _ignore, on_log=on_log or _ignore)
        finally:
            run.remove()
    check_outcome(job, outcome.exit_code, outcome.reason)


@dataclass(slots=True)
class Watch:
    """Looks at what a running job tells of itself and how much it has written."""

    job: Job
    on_progress: OnProgress
    _seen: str = ""
    _next_look: float = field(default_factory=time.monotonic)

    def look(self) -> str | None:
        """Pass a new progress on; the reason to end the executor, if there is one."""
        said = follow_monitor(self.job)
        if said is not None and said.timestamp != self._seen:
            self._seen = said.timestamp
            self.on_progress(said)
        if time.monotonic() < self._next_look:
            return None
        self._next_look = time.monotonic() + _LOOK_SECONDS
        return too_much(self.job)


@contextmanager
def watched(
    watch: Watch, *, is_late: Callable[[], bool], end: Callable[[Event], None]
) -> Iterator[list[str]]:
    """Report progress meanwhile, and `end` the executor at its limits, until the given event.

    The list has the reason then, which is why the executor ended.
    """
    over, reasons = Event(), list[str]()

    def look() -> None:
        while not over.wait(_FOLLOW_SECONDS):
            if reason := "time-limit" if is_late() else watch.look():
                reasons.append(reason)
                end(over)
                break

    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        yield reasons
    finally:
        over.set()
        thread.join()
        watch.look()


def too_much(job: Job) -> str | None:
    """Why the outputs are more than the job may write; None while they are not."""
    limit, written, files, folders = job.limits.disk_bytes, 0, 0, [str(job.outputs)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        written += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:  # gone meanwhile, or closed to us
            continue
        if files > _MOST_FILES:
            return f"it wrote more than {_MOST_FILES} files"
        if written > limit:
            return f"its output grew past its limit of {limit / 2**30:.3g} GiB"
    return None


def _ignore(_: object) -> None:
    pass
