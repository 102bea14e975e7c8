"""The steps whose work an executor does: train, evaluate, mine."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread
from typing import TYPE_CHECKING, Any

from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout

from mir_airflow import metrics
from mir_airflow.callbacks import give_up_round
from mir_airflow.hooks.mir import MirHook
from mir_airflow.links import DatasetVersionLink, RoundLink
from mir_airflow.operators.rounds import push_version
from mir_airflow.places import explained, open_workspace, place_of
from mir_airflow.retries import MIR_RETRIES
from mir_airflow.states import OVER, task_state
from mir_airflow.workers import GPU_POOL, worker_of
from mir_ops.errors import InvalidInputError, MirError, StoreError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy
    from airflow.sdk.types import Logger

    from mir_ops.executor import ExecutorFailedError, Job, Progress, Run
    from mir_ops.rounds.place import Place
    from mir_ops.rounds.steps import Step
    from mir_ops.workspace import Workspace

LONGEST_LINE = 16_384
KEEP_SECONDS = 900.0
OWNER_SECONDS = 60.0
ANSWER_SECONDS = 2.0
PR_SET_PDEATHSIG = 1


class ExecutorOperator(DockerOperator):
    """
    Prepare a job, run its executor, follow it, and collect what it wrote: one task on one worker.

    The connection's runner says how: as a container or a pod, which only see ``/in`` and ``/out``,
    or as a child process. All carry the operation's id and outlive the task that started them:
    after a ``kill -9`` of the task, its supervisor or the scheduler the next try goes on with the
    same one. A task that is cancelled, cleared, marked or out of time ends its executor.

    :param mir_conn_id: Connection to the workspace.
    :param keep_seconds: How long an executor waits for the next try when its task was killed.
    :param gpus: How many slots of its pool the task takes, as many as its executor may use GPUs. By
        default what ``[mir] gpus`` says in Airflow's settings (``AIRFLOW__MIR__GPUS``), or none.
    :param queue: Which workers run it. By default those of ``[mir] queue``, or of Airflow's queue.
    :param pool: Whose slots it takes. By default those of ``gpu``, where it may use GPUs.
    """

    template_fields: Sequence[str] = ()
    template_ext: Sequence[str] = ()

    def __init__(
        self,
        *,
        mir_conn_id: str = MirHook.default_conn_name,
        keep_seconds: float = KEEP_SECONDS,
        gpus: int | None = None,
        queue: str | None = None,
        pool: str | None = None,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        **kwargs: Any,
    ) -> None:
        worker = worker_of(queue=queue, pool=pool, gpus=gpus)
        self.gpus = worker.get("pool_slots", 0)
        super().__init__(
            image="",  # the step's, once the job is prepared
            mount_tmp_dir=False,
            auto_remove="force",
            retry_policy=retry_policy,
            **{**kwargs, **worker},
        )
        self.mir_conn_id = mir_conn_id
        self.keep_seconds = keep_seconds
        self._context: Context | None = None  # while it executes

    def open_step(self, workspace: Workspace, place: Place) -> Step:
        """What is to be done here; `place` is the same for every try."""
        raise NotImplementedError

    def leave(self, context: Context, workspace: Workspace, result: dict[str, Any]) -> None:
        """Leave what the task's links need."""
        raise NotImplementedError

    def give_up(self, context: Context, workspace: Workspace) -> None:
        """A person ended the run: Airflow calls nobody else back."""

    def project(self, workspace: Workspace) -> str:
        """The key of the project that this is done for, as metrics have it."""
        raise NotImplementedError

    def reached(self, boundary: str) -> None:
        """Log how far this try has come."""
        self.log.info("Reached: %s", boundary)

    def execute(self, context: Context) -> Any:
        from mir_ops.arrow import spare_pandas

        self._context = context
        spare_pandas()
        try:
            with ExitStack() as stack:
                stack.enter_context(explained(self.log))
                stack.enter_context(dying_with_parent())
                workspace = self._workspace(context)
                metrics.send_work_dir(workspace)
                stack.enter_context(workspace.catalog.kept_open())
                place = place_of(context, workspace.deployment)
                step = self.open_step(workspace, place)
                result = step.finished
                if result is None:
                    result = self._run_step(context, workspace, step)
                else:
                    self.log.info("This was done before, by operation %s", result.get("op_id"))
                self.leave(context, workspace, result)
        finally:
            self._context = None
        self.log.info("Done: %s", result)
        return result

    def on_kill(self) -> None:
        """Out of a signal handler of Airflow: only an exception ends what it interrupted."""
        if self._context is not None:
            context, self._context = self._context, None
            raise Interrupted(state_now(context))

    def _run_step(self, context: Context, workspace: Workspace, step: Step) -> dict[str, Any]:
        from mir_ops.executor import ExecutorFailedError, owning
        from mir_ops.executor.mounts import check_work_dir, check_work_volume
        from mir_ops.executor.room import room_in

        with owning(workspace.jobs_dir, step.entry.op_id, wait_seconds=OWNER_SECONDS):
            # The try before us may have come to its end while we waited.
            if (result := step.finished) is not None:
                return result
            if workspace.engine is not None:
                check_work_dir(workspace.work_dir, workspace.engine)
            if workspace.runner == "kubernetes":
                check_work_volume(workspace.work_dir)
            with room_in(workspace.work_dir):
                job = step.prepare()
            self._check_gpus(job)
            run = self._open_run(workspace, job)
            try:
                self.reached("prepared")
                with room_in(workspace.work_dir):
                    self._run(step, job, run)
                    result = self._collect(workspace, step, job)
                self.reached("committed")
            except Interrupted as interrupted:
                self._end(context, workspace, step, run, interrupted)
                reason = f"The task was ended from outside: {interrupted}"
                raise StoreError(reason, code="task-ended") from None
            except BaseException as error:
                if _is_final(error) or not _has_next_try(context):
                    run.remove()
                step.fail(str(error) or type(error).__name__)
                if isinstance(error, ExecutorFailedError):
                    _explain_failure(self.log, error)
                    # The same input would fail the same way: nothing is trained for hours again.
                    raise AirflowFailException(str(error)) from error
                raise
            try:
                run.remove()
            except StoreError as error:  # what counts is committed
                self.log.warning("%s", error)
            return result

    def _collect(self, workspace: Workspace, step: Step, job: Job) -> dict[str, Any]:
        started = datetime.now(UTC)
        result = step.collect(job)
        if metrics.is_on():
            project = self.project(workspace)
            metrics.send_executor(project, self.task_id, result.get("usage"))
            metrics.send_commit(workspace, project, self.task_id, result.get("commit"), started)
        return result

    def _workspace(self, context: Context) -> Workspace:
        workspace = open_workspace(context, self.mir_conn_id)
        return replace(workspace, engine=self.cli) if workspace.runner == "docker" else workspace

    def _check_gpus(self, job: Job) -> None:
        if job.limits.gpus > self.gpus:
            raise InvalidInputError(
                f"The executor asks for {job.limits.gpus} GPUs, and this task holds {self.gpus} "
                f"slots of the pool `{GPU_POOL}`",
                code="gpus-without-slots",
                hint=f"Set AIRFLOW__MIR__GPUS={job.limits.gpus}, and make the pool with "
                f"`airflow pools set {GPU_POOL} N 'One slot for each GPU'`",
            )

    def _open_run(self, workspace: Workspace, job: Job) -> Run:
        from mir_ops.executor import open_run

        return open_run(
            job,
            runner=workspace.runner,
            engine=workspace.engine,
            keep_seconds=self.keep_seconds,
        )

    def _run(self, step: Step, job: Job, run: Run) -> None:
        from mir_ops.executor import check_outcome

        if run.attach():
            self.log.info("Going on with the executor of an earlier try")
        else:
            run.start()
        self.reached("running")
        log = LogLines(self.log)
        try:
            outcome = run.follow(
                on_progress=lambda said: self._report(step, said), on_log=log.write
            )
        finally:
            log.close()
        self.reached("ended")
        check_outcome(job, outcome.exit_code, outcome.reason)

    def _end(
        self, context: Context, workspace: Workspace, step: Step, run: Run, why: Interrupted
    ) -> None:
        """What a task does that is told to go: end the executor, unless another try wants it."""
        if not why.for_good:
            self.log.warning("Leaving the executor to the next try: %s", why)
            return
        run.remove()
        step.fail(str(why))
        self.give_up(context, workspace)

    def _report(self, step: Step, said: Progress) -> None:
        self.log.info("%3.0f %% %s %s", said.percent, said.state, said.message)
        try:
            step.progress(said.percent, said.message)
        except MirError as error:
            self.log.warning("Could not write the progress down: %s", error)


class Interrupted(BaseException):
    """Out of a signal handler, so that nobody on the way takes it for an error of theirs.

    `state` is the task's, as Airflow has it now: None when it did not say.
    """

    def __init__(self, state: str | None) -> None:
        told = f"its state is `{state}`" if state else "Airflow does not say why"
        super().__init__(told)
        self.for_good = state in OVER


class LogLines:
    """Passes an executor's log on to the task's, line by line and none too long."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._rest = b""

    def write(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._say(line)
        while len(self._rest) > LONGEST_LINE:
            self._say(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]

    def close(self) -> None:
        if self._rest:
            self._say(self._rest)
        self._rest = b""

    def _say(self, line: bytes) -> None:
        self._log.info("%s", line.decode(errors="replace").rstrip())


def _is_final(error: BaseException) -> bool:
    """Whether another try has no use for the executor: it failed, or broke the contract."""
    from mir_ops.executor import ExecutorFailedError

    return isinstance(error, ExecutorFailedError | InvalidInputError | AirflowTaskTimeout)


def _has_next_try(context: Context) -> bool:
    ti = context["ti"]
    return ti.try_number <= ti.max_tries


def state_now(context: Context) -> str | None:
    """This task's state in Airflow's database, or None when it does not answer in time."""
    ti, answer = context["ti"], []

    def ask() -> None:
        # What was interrupted may hold the lock of this connection: then nobody answers.
        with suppress(Exception):
            state = task_state(
                ti,
                dag_id=ti.dag_id,
                run_id=ti.run_id,
                task_id=ti.task_id,
                map_index=ti.map_index,
            )
            answer.append(state)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    return answer[0] if answer else None


@contextmanager
def dying_with_parent() -> Iterator[None]:
    """A task whose supervisor is killed goes too: a second try must not meet it."""
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)


class RoundExecutorOperator(ExecutorOperator):
    """
    A step of a round whose work an executor does.

    :param round_id: The round, as ``open_round`` numbered it. (templated)
    """

    template_fields: Sequence[str] = ("round_id",)

    def __init__(self, *, round_id: int | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.round_id = round_id

    def leave(self, context: Context, workspace: Workspace, result: dict[str, Any]) -> None:
        push_version(context, workspace, int(self.round_id), result)

    def give_up(self, context: Context, workspace: Workspace) -> None:
        # If there is another try, it takes up the round.
        give_up_round(workspace, context["run_id"], "The run was ended from outside")

    def project(self, workspace: Workspace) -> str:
        return metrics.project_of(workspace, int(self.round_id))


class TrainOperator(RoundExecutorOperator):
    """
    Train a model on the newest training version.

    :param last: On the version with the labels of this very round.
    """

    operator_extra_links = (RoundLink(),)

    def __init__(self, *, last: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.last = last

    def open_step(self, workspace: Workspace, place: Place) -> Step:
        from mir_ops.rounds.training import training_step

        return training_step(workspace, place, int(self.round_id), last=self.last)


class EvaluateOperator(RoundExecutorOperator):
    """
    Predict on the validation images and compare with their ground truth.

    :param last: With the model that has seen the labels of this very round.
    """

    operator_extra_links = (DatasetVersionLink(),)

    def __init__(self, *, last: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.last = last

    def open_step(self, workspace: Workspace, place: Place) -> Step:
        from mir_ops.rounds.evaluating import evaluation_step

        return evaluation_step(workspace, place, int(self.round_id), last=self.last)


class MineShardOperator(RoundExecutorOperator):
    """
    Predict on one part of a large pool.

    :param shard: Its number, as ``plan_shards`` gave it.
    """

    def __init__(self, *, shard: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard = shard

    def open_step(self, workspace: Workspace, place: Place) -> Step:
        from mir_ops.rounds.sharding import shard_step

        return shard_step(workspace, place, int(self.round_id), self.shard)


class MineOperator(RoundExecutorOperator):
    """Predict on the pool, or take what shards predicted; score every image, and pick."""

    operator_extra_links = (DatasetVersionLink(),)

    def open_step(self, workspace: Workspace, place: Place) -> Step:
        from mir_ops.rounds.mining import mining_step

        return mining_step(workspace, place, int(self.round_id))


def _explain_failure(log: Logger, error: ExecutorFailedError) -> None:
    log.error("%s (%s)", error, error.code)
    if error.hint:
        log.error("hint: %s", error.hint)
