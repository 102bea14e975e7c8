"""The steps whose work an executor does: train, evaluate, mine."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk.exceptions import AirflowFailException
from docker.errors import APIError, NotFound

from mir_airflow.hooks.mir import MirHook
from mir_airflow.links import DatasetVersionLink
from mir_airflow.operators.rounds import push_version
from mir_airflow.places import explained, place_of
from mir_airflow.retries import MIR_RETRIES
from mir_ops.errors import MirError, StoreError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy
    from airflow.sdk.types import Logger

    from mir_ops.executor import ExecutorFailedError, Job, Progress
    from mir_ops.rounds.place import Place
    from mir_ops.rounds.steps import Step
    from mir_ops.workspace import Workspace

FOLLOW_SECONDS = 1.0
LONGEST_LINE = 16_384
MOST_LOG = 1 << 20
MOST_LINES = 20_000


class ExecutorOperator(DockerOperator):
    """
    Prepare a job, run its executor, follow it, and collect what it wrote: one task on one worker.

    The connection's runner says how: as a container, which only sees ``/in`` and ``/out``, or as
    a child process. The container's name comes from the operation, so the next try of a killed
    task goes on with the container that still runs. Whatever ends the task ends the executor.

    :param round_id: The round, as ``open_round`` numbered it. (templated)
    :param mir_conn_id: Connection to the workspace.
    """

    template_fields: Sequence[str] = ("round_id",)
    template_ext: Sequence[str] = ()

    def __init__(
        self,
        *,
        round_id: int | str,
        mir_conn_id: str = MirHook.default_conn_name,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image="",  # the project's, once the job is prepared
            mount_tmp_dir=False,
            auto_remove="force",
            retry_policy=retry_policy,
            **kwargs,
        )
        self.round_id = round_id
        self.mir_conn_id = mir_conn_id
        self._ended = False
        self._runs_process = False
        self._container_id: str | None = None

    def open_step(self, workspace: Workspace, place: Place, round_id: int) -> Step:
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        with explained(self.log):
            workspace = MirHook(self.mir_conn_id).workspace()
            place = place_of(context, workspace.deployment)
            step = self.open_step(workspace, place, int(self.round_id))
            result = step.finished
            if result is None:
                result = self._run_step(context, workspace, step)
            else:
                self.log.info("This was done before, by operation %s", result.get("op_id"))
            push_version(context, workspace, int(self.round_id), result)
        self.log.info("Done: %s", result)
        return result

    def on_kill(self) -> None:
        self._ended = True
        if self._container_id is not None:
            self._remove_container()
        elif self._runs_process:
            # A signal handler of Airflow calls this: only an exception ends what it interrupted.
            raise Interrupted

    def _run_step(self, context: Context, workspace: Workspace, step: Step) -> dict[str, Any]:
        from mir_ops.executor import ExecutorFailedError
        from mir_ops.rounds.steps import fail_round

        job = step.prepare()
        self.log.info("Prepared the job in %s", job.folder)
        run = self._run_process if workspace.runner == "process" else self._run_container
        try:
            run(context, job, step)
        except BaseException as error:
            step.fail(str(error) or type(error).__name__)
            if self._ended:
                # A cancelled run calls nobody back. If there is another try, it takes up the round.
                fail_round(workspace, context["run_id"], "The run was ended from outside")
                raise StoreError("The task was ended from outside", code="task-ended") from error
            if isinstance(error, ExecutorFailedError):
                _explain_failure(self.log, error)
                # The same input would fail the same way: hours of training are not tried again.
                raise AirflowFailException(str(error)) from error
            raise
        return step.collect(job)

    def _run_process(self, context: Context, job: Job, step: Step) -> None:  # noqa: ARG002
        from mir_ops.executor import run_job

        log = LogFile(job.log_path)

        def report(said: Progress) -> None:
            self._pass_on_log(log.new_chunks())
            self._report(step, said)

        self._runs_process = True
        try:
            run_job(job, runner="process", on_progress=report)
        finally:
            self._runs_process = False
            self._pass_on_log(log.new_chunks())

    def _run_container(self, context: Context, job: Job, step: Step) -> None:
        from mir_ops.executor import docker_settings

        self._job, self._step = job, step
        self._settings = docker_settings(job)
        self.image = self._settings.image
        super().execute(context)  # looks for the image, then comes back to the method below

    def _run_image_with_mounts(self, target_mounts: object, add_tmp_variable: bool) -> None:  # noqa: ARG002
        """Instead of DockerOperator's: it cannot limit processes, drop rights or use an init."""
        from mir_ops.executor import check_outcome

        adopted = self._adopt_container(self._settings.name)
        container = self._container_id = adopted or self._create_container()
        reason: list[str] = []
        status: int | None = None
        try:
            stream = self.cli.attach(container, stdout=True, stderr=True, stream=True, logs=True)
            if not adopted:
                self.cli.start(container)
            with self._followed(container, reason):
                self._pass_on_log(stream)
                status = self.cli.wait(container)["StatusCode"]
            self._keep_log(container)
        except NotFound:
            reason.append("its container was removed")
        finally:
            self._remove_container()
        check_outcome(self._job, status, reason[0] if reason else None)

    def _adopt_container(self, name: str) -> str | None:
        """Take over the container of a try that was killed, if it runs or ended well."""
        try:
            found = self.cli.inspect_container(name)
        except NotFound:
            return None
        state = found["State"]
        if state["Running"] or (state["Status"] == "exited" and state["ExitCode"] == 0):
            self.log.info("Going on with container %s of an earlier try", name)
            return str(found["Id"])
        self.cli.remove_container(found["Id"], force=True)
        return None

    def _create_container(self) -> str:
        from mir_ops.executor import clear_outputs

        settings = self._settings
        limits: dict[str, Any] = settings.host_config()
        clear_outputs(self._job)
        created = self.cli.create_container(
            image=settings.image,
            name=settings.name,
            user=settings.user,
            labels=dict(settings.labels),
            host_config=self.cli.create_host_config(**limits),
        )
        return str(created["Id"])

    def _pass_on_log(self, stream: Iterable[bytes]) -> None:
        rest = b""
        for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._log_line(line)
            while len(rest) > LONGEST_LINE:
                self._log_line(rest[:LONGEST_LINE])
                rest = rest[LONGEST_LINE:]
        if rest:
            self._log_line(rest)

    def _log_line(self, line: bytes) -> None:
        self.log.info("%s", line.decode(errors="replace").rstrip())

    @contextmanager
    def _followed(self, container: str, reason: list[str]) -> Iterator[None]:
        """Report progress meanwhile, and end the container at its time limit."""
        over = Event()
        thread = Thread(target=self._follow, args=(container, over, reason), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _follow(self, container: str, over: Event, reason: list[str]) -> None:
        from mir_ops.executor import follow_monitor

        deadline = self._started_at(container) + self._settings.time_seconds
        seen = ""
        while not over.wait(FOLLOW_SECONDS):
            said = follow_monitor(self._job)
            if said is not None and said.timestamp != seen:
                seen = said.timestamp
                self._report(self._step, said)
            if time.time() > deadline and not reason:
                reason.append("time-limit")
                with suppress(APIError):
                    self.cli.kill(container)

    def _started_at(self, container: str) -> float:
        started = self.cli.inspect_container(container)["State"]["StartedAt"]
        # Nanoseconds are more than Python reads.
        stamp = datetime.fromisoformat(started[:19]).replace(tzinfo=UTC)
        return stamp.timestamp()

    def _report(self, step: Step, said: Progress) -> None:
        self.log.info("%3.0f %% %s %s", said.percent, said.state, said.message)
        try:
            step.progress(said.percent, said.message)
        except MirError as error:
            self.log.warning("Could not write the progress down: %s", error)

    def _keep_log(self, container: str) -> None:
        """The log belongs to what is collected; an image may have written it itself."""
        with suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            descriptor = os.open(self._job.log_path, flags, 0o644)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.cli.logs(container, tail=MOST_LINES))

    def _remove_container(self) -> None:
        container, self._container_id = self._container_id, None
        if container is not None:
            with suppress(APIError):
                self.cli.remove_container(container, force=True, v=True)


class Interrupted(BaseException):
    """Out of a signal handler, so that nobody on the way takes it for an error of theirs."""


class LogFile:
    """A log that somebody else writes, read on from where we were."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0

    def new_chunks(self) -> Iterator[bytes]:
        """What came since, but no link and no more at once than a person would read."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return
            file.seek(max(self.position, file.seek(0, os.SEEK_END) - MOST_LOG))
            yield file.read(MOST_LOG)
            self.position = file.tell()


class TrainOperator(ExecutorOperator):
    """Train a model on the newest training version."""

    def open_step(self, workspace: Workspace, place: Place, round_id: int) -> Step:
        from mir_ops.rounds.steps import training_step

        return training_step(workspace, place, round_id)


class EvaluateOperator(ExecutorOperator):
    """Predict on the validation images and compare with their ground truth."""

    operator_extra_links = (DatasetVersionLink(),)

    def open_step(self, workspace: Workspace, place: Place, round_id: int) -> Step:
        from mir_ops.rounds.steps import evaluation_step

        return evaluation_step(workspace, place, round_id)


class MineOperator(ExecutorOperator):
    """Predict on the pool, score every image, and pick as many as the budget allows."""

    operator_extra_links = (DatasetVersionLink(),)

    def open_step(self, workspace: Workspace, place: Place, round_id: int) -> Step:
        from mir_ops.rounds.steps import mining_step

        return mining_step(workspace, place, round_id)


def _explain_failure(log: Logger, error: ExecutorFailedError) -> None:
    log.error("%s (%s)", error, error.code)
    if error.hint:
        log.error("hint: %s", error.hint)
