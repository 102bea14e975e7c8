"""The sensors that wait for labels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator

from mir_airflow.hooks.mir import LabelsHook, MirHook
from mir_airflow.links import LABELS_KEY, LabelProjectLink
from mir_airflow.places import explained
from mir_airflow.retries import MIR_RETRIES
from mir_airflow.triggers.labels import (
    LabelsEvent,
    LabelsTrigger,
    LabelTaskTrigger,
    WaitingTrigger,
    as_told,
    ask,
    ask_task,
)
from mir_ops.errors import InvalidInputError, StoreError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy

    from mir_ops.labeling import LabelProgress
    from mir_ops.workspace import Workspace


class WaitingSensor(BaseSensorOperator):
    """
    Wait until labels are done; weeks of waiting hold no worker slot.

    Past the deadline it goes on with what is done. A label task that lost its images is an error,
    never "done". A label tool that is away is waited for as well.

    How far people are is in the log, and in the XCom ``mir_labels`` while they work.

    :param mir_conn_id: Connection to the workspace.
    :param labels_conn_id: Connection to the label tool.
    """

    operator_extra_links = (LabelProjectLink(),)

    def __init__(
        self,
        *,
        mir_conn_id: str = MirHook.default_conn_name,
        labels_conn_id: str = LabelsHook.default_conn_name,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.mir_conn_id = mir_conn_id
        self.labels_conn_id = labels_conn_id

    def ask(self, workspace: Workspace, options: dict[str, Any]) -> tuple[bool, LabelProgress]:
        """Whether the labels are ready, and how far they are."""
        raise NotImplementedError

    def trigger(self, workspace: Workspace) -> WaitingTrigger:
        """What goes on asking."""
        raise NotImplementedError

    def execute(self, context: Context) -> str:
        with explained(self.log):
            workspace = MirHook(self.mir_conn_id).workspace()
            options = LabelsHook(self.labels_conn_id).options()
            try:
                ready, progress = self.ask(workspace, options)
            except StoreError as error:
                self.log.warning("Could not ask the label tool, trying again: %s", error)
                self._wait(workspace)
        said = str(progress)
        self.log.info("%s", said)
        context["ti"].xcom_push(key=LABELS_KEY, value=as_told(progress))
        if not ready:
            self._wait(workspace)
        return said

    def execute_complete(self, context: Context, event: LabelsEvent) -> str:  # noqa: ARG002
        if event["status"] == "failed":
            with explained(self.log):
                raise InvalidInputError(event["message"], code="label-task", hint=event["hint"])
        if event["status"] == "deadline":
            self.log.warning("%s: going on with what is done", event["message"])
        return event["message"]

    def _wait(self, workspace: Workspace) -> NoReturn:
        self.defer(trigger=self.trigger(workspace), method_name="execute_complete")


class LabelsSensor(WaitingSensor):
    """
    Wait until the labels of a round are done, or its project's time for labelling is over.

    :param round_id: The round, as ``open_round`` numbered it. (templated)
    """

    template_fields: Sequence[str] = ("round_id",)

    def __init__(self, *, round_id: int | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.round_id = round_id

    def ask(self, workspace: Workspace, options: dict[str, Any]) -> tuple[bool, LabelProgress]:
        return ask(workspace, int(self.round_id), options)

    def trigger(self, workspace: Workspace) -> WaitingTrigger:
        round_id = int(self.round_id)
        labels = workspace.catalog.rounds.get(round_id).spec.labels
        tasks = workspace.catalog.label_tasks.list(round_id)
        asked_at = tasks[-1].created_at if tasks else datetime.now(UTC)
        return LabelsTrigger(
            round_id=round_id,
            deadline=(asked_at + timedelta(days=labels.timeout_days)).isoformat(),
            poll_seconds=labels.poll_seconds,
            mir_conn_id=self.mir_conn_id,
            labels_conn_id=self.labels_conn_id,
        )


class LabelTaskSensor(WaitingSensor):
    """
    Wait until the labels that a run asked for are done, or its time for labelling is over.

    :param asked: What was asked for, as ``RequestLabelsOperator`` left it. (templated)
    :param timeout_days: How long people have. (templated)
    :param poll_seconds: How often the label tool is asked. (templated)
    """

    template_fields: Sequence[str] = ("asked", "timeout_days", "poll_seconds")

    def __init__(
        self,
        *,
        asked: dict[str, Any],
        timeout_days: float = 90.0,
        poll_seconds: float = 60.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.asked = asked
        self.timeout_days = timeout_days
        self.poll_seconds = poll_seconds

    def ask(self, workspace: Workspace, options: dict[str, Any]) -> tuple[bool, LabelProgress]:
        return ask_task(workspace, self.asked, options)

    def trigger(self, workspace: Workspace) -> WaitingTrigger:  # noqa: ARG002
        asked_at = datetime.fromisoformat(self.asked["asked_at"])
        return LabelTaskTrigger(
            asked=dict(self.asked),
            deadline=(asked_at + timedelta(days=self.timeout_days)).isoformat(),
            poll_seconds=self.poll_seconds,
            mir_conn_id=self.mir_conn_id,
            labels_conn_id=self.labels_conn_id,
        )
