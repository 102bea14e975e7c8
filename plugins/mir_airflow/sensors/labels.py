"""The sensor that waits for labels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator

from mir_airflow.hooks.mir import LabelsHook, MirHook
from mir_airflow.links import LABELS_KEY, LabelProjectLink
from mir_airflow.places import explained
from mir_airflow.retries import MIR_RETRIES
from mir_airflow.triggers.labels import LabelsEvent, LabelsTrigger, as_told, ask
from mir_ops.errors import InvalidInputError, StoreError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy

    from mir_ops.workspace import Workspace


class LabelsSensor(BaseSensorOperator):
    """
    Wait until the labels of a round are done; weeks of waiting hold no worker slot.

    Past the project's deadline the round goes on with what is done. A label task that lost its
    images is an error, never "done". A label tool that is away is waited for as well.

    How far people are is in the log, and in the XCom ``mir_labels`` while they work.

    :param round_id: The round, as ``open_round`` numbered it. (templated)
    :param mir_conn_id: Connection to the workspace.
    :param labels_conn_id: Connection to the label tool.
    """

    template_fields: Sequence[str] = ("round_id",)
    operator_extra_links = (LabelProjectLink(),)

    def __init__(
        self,
        *,
        round_id: int | str,
        mir_conn_id: str = MirHook.default_conn_name,
        labels_conn_id: str = LabelsHook.default_conn_name,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.round_id = round_id
        self.mir_conn_id = mir_conn_id
        self.labels_conn_id = labels_conn_id

    def execute(self, context: Context) -> str:
        with explained(self.log):
            workspace = MirHook(self.mir_conn_id).workspace()
            round_id = int(self.round_id)
            options = LabelsHook(self.labels_conn_id).options()
            try:
                ready, progress = ask(workspace, round_id, options)
            except StoreError as error:
                self.log.warning("Could not ask the label tool, trying again: %s", error)
                self._wait(workspace, round_id)
        said = str(progress)
        self.log.info("%s", said)
        context["ti"].xcom_push(key=LABELS_KEY, value=as_told(progress))
        if not ready:
            self._wait(workspace, round_id)
        return said

    def execute_complete(self, context: Context, event: LabelsEvent) -> str:  # noqa: ARG002
        if event["status"] == "failed":
            with explained(self.log):
                raise InvalidInputError(event["message"], code="label-task", hint=event["hint"])
        if event["status"] == "deadline":
            self.log.warning("%s: going on with what is done", event["message"])
        return event["message"]

    def _wait(self, workspace: Workspace, round_id: int) -> NoReturn:
        labels = workspace.catalog.rounds.get(round_id).spec.labels
        tasks = workspace.catalog.label_tasks.list(round_id)
        asked_at = tasks[-1].created_at if tasks else datetime.now(UTC)
        self.defer(
            trigger=LabelsTrigger(
                round_id=round_id,
                deadline=(asked_at + timedelta(days=labels.timeout_days)).isoformat(),
                poll_seconds=labels.poll_seconds,
                mir_conn_id=self.mir_conn_id,
                labels_conn_id=self.labels_conn_id,
            ),
            method_name="execute_complete",
        )
