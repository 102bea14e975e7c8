"""The first task of a round: it opens one, or ends the run at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSkipException

from mir_airflow import metrics
from mir_airflow.assets import happenings
from mir_airflow.callbacks import give_up_round
from mir_airflow.hooks.mir import MirHook
from mir_airflow.links import OPEN_RUN_KEY, OpenedRoundLink, OpenRunLink, keep_opened
from mir_airflow.notifications import check_notifiers
from mir_airflow.places import explained, open_workspace, place_of
from mir_airflow.retries import OPENING_RETRIES
from mir_airflow.workers import check_workers
from mir_ops.errors import ConflictError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy

    from mir_ops.catalog import Round
    from mir_ops.rounds.place import Place
    from mir_ops.workspace import Workspace

# Runs that nobody waits for: a tick, or an event.
BY_ITSELF: Final = frozenset({"scheduled", "asset_triggered"})


class OpenRoundOperator(BaseOperator):
    """
    Open this run's round of a project, or end the run at once when another one is open.

    A run that a schedule or an event started is then skipped; one that somebody asked for fails.
    Both link to the run that holds the project. The XCom has ``round_id``, ``number`` and
    ``project``. Keys of the run's conf that are not parameters of a round are refused: Airflow
    itself would ignore them.

    :param project: Name or key of the project. (templated)
    :param mir_conn_id: Connection to the workspace.
    """

    template_fields: Sequence[str] = ("project",)
    operator_extra_links = (OpenedRoundLink(), OpenRunLink())

    def __init__(
        self,
        *,
        project: str,
        mir_conn_id: str = MirHook.default_conn_name,
        retry_policy: RetryPolicy | None = OPENING_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.project = project
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        with explained(self.log):
            workspace = open_workspace(context, self.mir_conn_id)
            try:
                opened = self._open(context, workspace)
            except ConflictError as error:
                if error.code != "round-open":
                    raise
                if not self._give_up_ended(context, workspace):
                    self._step_back(context, workspace, error)
                opened = self._open(context, workspace)
        keep_opened(self)
        self.log.info("Opened round %d of %s", opened["number"], opened["project"])
        return opened

    def _open(self, context: Context, workspace: Workspace) -> dict[str, Any]:
        from mir_ops.rounds.steps import open_round

        project = workspace.catalog.projects.get(self.project)
        spec = project.spec
        check_workers(context["dag"], spec.executor, own_dag=project.dag_id, log=self.log)
        check_notifiers(spec.notify)
        if happenings(context) == {"data"} and not spec.schedule.new_data:
            self._check_labels(context, workspace, spec.schedule.new_labels)
        place = place_of(context, workspace.deployment)
        before = metrics.is_on() and self._opened_before(workspace, place)
        opened = open_round(
            workspace,
            place,
            project=self.project,
            # Not the run's params: their defaults are of the time when the file was parsed.
            conf=dict(context["dag_run"].conf or {}),
        )
        if not before:
            metrics.send_opened(workspace, opened["round_id"])
        return opened

    def _opened_before(self, workspace: Workspace, place: Place) -> bool:
        found = workspace.catalog.rounds.find_run(place.deployment, place.run_id, place.dag_id)
        return found is not None

    def _check_labels(self, context: Context, workspace: Workspace, enough: int | None) -> None:
        """Data came, and the project waits for labels."""
        from mir_ops.rounds.continuing import new_labels

        found = new_labels(workspace, self.project)
        if enough is None or found < enough:
            wanted = "" if enough is None else f" of {enough}"
            self._skip_all(context, f"{found}{wanted} images are newly labelled: not yet")

    def _step_back(self, context: Context, workspace: Workspace, error: ConflictError) -> None:
        """Another run has the project: say which, and skip what nobody asked for."""
        if (holder := self._holder(workspace)) is not None:
            run = {"dag_id": holder.dag_id, "run_id": holder.run_id}
            context["ti"].xcom_push(key=OPEN_RUN_KEY, value=run)
        if context["dag_run"].run_type.value in BY_ITSELF:
            self._skip_all(context, str(error))
        raise error

    def _skip_all(self, context: Context, reason: str) -> NoReturn:
        """Skip the run at once: by itself it would be skipped task by task, a second for each.

        `SkipMixin.skip` would do so too, but call this task a success.
        """
        from airflow.sdk.execution_time.comms import SkipDownstreamTasks
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        self.log.info("Skipping the run: %s", reason)
        after = context["task"].get_flat_relatives(upstream=False)
        SUPERVISOR_COMMS.send(SkipDownstreamTasks(tasks=[task.task_id for task in after]))
        raise AirflowSkipException(reason)

    def _holder(self, workspace: Workspace) -> Round | None:
        rounds = workspace.catalog.rounds.list(self.project)
        return next((each for each in rounds if each.state == "open"), None)

    def _give_up_ended(self, context: Context, workspace: Workspace) -> bool:
        """Whether the open round's run has ended: Airflow tells nobody when a person does that."""
        holder = self._holder(workspace)
        if holder is None or holder.deployment != workspace.deployment:
            return False
        try:
            state = context["ti"].get_dagrun_state(dag_id=holder.dag_id, run_id=holder.run_id)
        except AirflowRuntimeError as error:
            self.log.warning("Could not ask for run %s: %s", holder.run_id, error)
            return False
        if state not in ("success", "failed"):
            return False
        self.log.warning("Giving up round %d: its run has ended (%s)", holder.number, state)
        give_up_round(workspace, holder.run_id, "The run ended before the round was closed")
        return True
