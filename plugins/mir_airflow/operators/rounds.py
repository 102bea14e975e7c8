"""The steps of a round as operators: each calls one function of `mir_ops.rounds`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import AssetAlias, BaseOperator
from airflow.sdk.bases.branch import BranchMixIn

from mir_airflow import metrics
from mir_airflow.assets import PROJECTS, tell
from mir_airflow.hooks.mir import LabelsHook, MirHook
from mir_airflow.links import (
    DatasetVersionLink,
    GateReportLink,
    RoundLink,
    keep_gate,
    keep_version,
)
from mir_airflow.places import explained, open_workspace, place_of
from mir_airflow.retries import MIR_RETRIES

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy

    from mir_ops.labeling import LabelBackend
    from mir_ops.rounds.place import Place
    from mir_ops.workspace import Workspace


class StepOperator(BaseOperator):
    """
    One step of a round. Running it again finds what it did and returns that.

    :param round_id: The round, as ``open_round`` numbered it. (templated)
    :param mir_conn_id: Connection to the workspace.
    """

    template_fields: Sequence[str] = ("round_id",)

    def __init__(
        self,
        *,
        round_id: int | str,
        mir_conn_id: str = MirHook.default_conn_name,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.round_id = round_id
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> Any:
        started = datetime.now(UTC)
        with explained(self.log):
            workspace = open_workspace(context, self.mir_conn_id)
            place = place_of(context, workspace.deployment)
            with workspace.catalog.kept_open():
                result = self.run_step(workspace, place, int(self.round_id))
                if metrics.is_on():
                    self.send(workspace, result, started)
                self.leave(context, workspace, result)
        self.log.info("Done: %s", result)
        return result

    def leave(self, context: Context, workspace: Workspace, result: dict[str, Any]) -> None:
        """Leave what the task's links and the DAGs of others need."""
        push_version(context, workspace, int(self.round_id), result)

    def send(self, workspace: Workspace, result: dict[str, Any], since: datetime) -> None:
        """Send the metrics of what was done since then; what was found done is none."""
        if commit := result.get("commit"):
            project = metrics.project_of(workspace, int(self.round_id))
            metrics.send_commit(workspace, project, self.task_id, commit, since)

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        raise NotImplementedError


class ImportDataOperator(StepOperator):
    """Import the project's sources and the run's new data."""

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import import_data

        return import_data(workspace, place, round_id)

    def send(self, workspace: Workspace, result: dict[str, Any], since: datetime) -> None:
        project = metrics.project_of(workspace, int(self.round_id))
        images = [(result[role], count) for role, count in result["images"].items()]
        metrics.send_import(workspace, project, images, since)


class GateOperator(StepOperator):
    """
    Check what came in against the project's rules; a blocked gate fails the task.

    :param stage: ``data`` for what was imported, ``labels`` for what was labelled.
    """

    operator_extra_links = (GateReportLink(),)

    def __init__(self, *, stage: Literal["data", "labels"], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import check_gate

        round_ = workspace.catalog.rounds.get(round_id)
        # First: a gate that stops the round is the one whose report people open.
        keep_gate(self, round_.project_key, round_.number, self.stage)
        return check_gate(workspace, place, round_id, stage=self.stage)


class MergeTrainingOperator(StepOperator):
    """Merge what came in into the training version."""

    operator_extra_links = (DatasetVersionLink(),)

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import merge_training

        return merge_training(workspace, place, round_id)


class CheckTargetsOperator(StepOperator, BranchMixIn):
    """
    Decide whether the project has arrived: then nothing is mined or labelled.

    :param go_on: Task to run when it has not.
    :param stop: Task to run when it has.
    """

    inherits_from_skipmixin = True

    def __init__(self, *, go_on: str, stop: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.go_on = go_on
        self.stop = stop

    def execute(self, context: Context) -> dict[str, Any]:
        result: dict[str, Any] = super().execute(context)
        self.log.info("%s: %s", "Stopping" if result["stop"] else "Going on", result["reason"])
        self.do_branch(context, self.stop if result["stop"] else self.go_on)
        return result

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import check_targets

        return check_targets(workspace, place, round_id)


class CheckEndOperator(StepOperator, BranchMixIn):
    """
    Decide whether a last model is to see the labels that were just merged.

    :param train: Task to run when it is.
    :param close: Task to run when it is not.
    """

    inherits_from_skipmixin = True

    def __init__(self, *, train: str, close: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.train = train
        self.close = close

    def execute(self, context: Context) -> dict[str, Any]:
        result: dict[str, Any] = super().execute(context)
        self.log.info("%s: %s", "Training" if result["last"] else "Closing", result["reason"])
        self.do_branch(context, self.train if result["last"] else self.close)
        return result

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import check_end

        return check_end(workspace, place, round_id)


class PreparePoolOperator(StepOperator):
    """Filter and sample the pool as the project says: what this round mines in."""

    operator_extra_links = (DatasetVersionLink(),)

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import prepare_pool

        return prepare_pool(workspace, place, round_id)


class PlanShardsOperator(StepOperator):
    """The numbers of the shards of this round's mining; none when one container does it all."""

    def execute(self, context: Context) -> list[int]:
        return list(range(len(super().execute(context)["shards"])))

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import plan_shards

        return plan_shards(workspace, place, round_id)


class LabelStepOperator(StepOperator):
    """
    A step that talks to the label tool.

    :param labels_conn_id: Connection to the label tool.
    """

    def __init__(
        self, *, labels_conn_id: str = LabelsHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.labels_conn_id = labels_conn_id

    def backend(self, workspace: Workspace, round_id: int) -> LabelBackend:
        kind = workspace.catalog.rounds.get(round_id).spec.labels.backend
        return LabelsHook(self.labels_conn_id).backend(kind)


class CreateLabelTaskOperator(LabelStepOperator):
    """Ask for labels of the images that were mined."""

    operator_extra_links = (RoundLink(),)

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import create_label_task

        return create_label_task(workspace, place, round_id, self.backend(workspace, round_id))


class ImportLabelsOperator(LabelStepOperator):
    """Commit the labels that are done."""

    operator_extra_links = (DatasetVersionLink(),)

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import import_labels

        return import_labels(workspace, place, round_id, self.backend(workspace, round_id))

    def send(self, workspace: Workspace, result: dict[str, Any], since: datetime) -> None:
        super().send(workspace, result, since)
        # Also when the time for labelling was over before everything was labelled.
        metrics.send_labels(metrics.project_of(workspace, int(self.round_id)), None)


class MergeLabelsOperator(StepOperator):
    """Merge the labels into the training version: the next round starts there."""

    operator_extra_links = (DatasetVersionLink(),)

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import merge_labels

        return merge_labels(workspace, place, round_id)


class CloseRoundOperator(LabelStepOperator):
    """
    Write the round's record and free the project for the next one.

    That a round closed is an event of the project's asset ``closed``; that a continuous project
    wants its next round is one of ``next``.
    """

    operator_extra_links = (RoundLink(),)

    def __init__(self, *, outlets: Sequence[AssetAlias] = (PROJECTS,), **kwargs: Any) -> None:
        super().__init__(outlets=list(outlets), **kwargs)

    def leave(self, context: Context, workspace: Workspace, result: dict[str, Any]) -> None:
        from mir_ops.rounds.continuing import continues

        round_id = int(self.round_id)
        key = workspace.catalog.rounds.get(round_id).project_key
        said = {name: result[name] for name in ("number", "training", "metrics", "record")}
        tell(context, key, "closed", said)
        goes_on, reason = continues(workspace, round_id)
        self.log.info("%s: %s", "Going on" if goes_on else "Not going on by itself", reason)
        if goes_on:
            tell(context, key, "next", {"after": result["number"]})

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import close_round

        asked = workspace.catalog.label_tasks.list(round_id)
        tool = self.backend(workspace, round_id) if asked else None
        before = workspace.catalog.rounds.get(round_id)
        result = close_round(workspace, place, round_id, tool)
        if before.state != "closed":
            metrics.send_closed(before.project_key, result["metrics"])
        return result


def push_version(
    context: Context, workspace: Workspace, round_id: int, result: dict[str, Any]
) -> None:
    """Leave what `DatasetVersionLink` needs."""
    if commit := result.get("commit"):
        project = workspace.catalog.rounds.get(round_id).project_key
        keep_version(context["task"], project, commit)
