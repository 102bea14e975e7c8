"""Work on datasets outside a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAlias, BaseOperator

from mir_airflow import metrics
from mir_airflow.assets import PROJECTS, tell
from mir_airflow.hooks.mir import MirHook
from mir_airflow.links import DatasetVersionLink
from mir_airflow.places import explained, open_workspace
from mir_airflow.retries import MIR_RETRIES
from mir_airflow.single_steps import leave_version, task_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy

    from mir_ops.dataset.merging import Strategy
    from mir_ops.dataset.sources import AnnotationFormat
    from mir_ops.executor.classes import Unknown


class ImportDatasetOperator(BaseOperator):
    """
    Import a folder or an archive into a branch; what was not taken is listed in the log.

    The XCom has the commit and the counts. The same bytes into the same branch are the same
    commit, whichever run imports them. Into a branch of a project it is an event of the project's
    asset ``data``.

    :param source: Folder or archive in the connection's sharing folder, the archive at a
        ``https://`` or ``s3://`` URL, or a published dataset, ``public:NAME``. (templated)
    :param branch: Branch to commit to. (templated)
    :param annotations: ``auto``, ``voc``, ``coco``, ``yolo``, or ``none`` to take the images
        alone. (templated)
    :param unknown_classes: ``stop``, ``ignore`` or ``add``. (templated)
    :param split: ``train``, ``val`` or ``test``; None leaves it open. (templated)
    :param mir_conn_id: Connection to the workspace.
    """

    template_fields: Sequence[str] = (
        "source",
        "branch",
        "annotations",
        "unknown_classes",
        "split",
    )
    operator_extra_links = (DatasetVersionLink(),)

    def __init__(
        self,
        *,
        source: str,
        branch: str,
        annotations: AnnotationFormat = "auto",
        unknown_classes: Unknown = "stop",
        split: str | None = None,
        mir_conn_id: str = MirHook.default_conn_name,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        outlets: Sequence[AssetAlias] = (PROJECTS,),
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, outlets=list(outlets), **kwargs)
        self.source = source
        self.branch = branch
        self.annotations = annotations
        self.unknown_classes = unknown_classes
        self.split = split
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        from mir_ops.tasks.datasets import import_shared

        started = datetime.now(UTC)
        with explained(self.log):
            task = task_of(self, context, open_workspace(context, self.mir_conn_id))
            result = import_shared(
                task,
                self.source,
                annotations=self.annotations,
                unknown=self.unknown_classes,
                split=self.split,
            )
            found = {"commit": result.commit.id, "report": result.report.to_dict()}
            leave_version(context, task, found)
        project = task.project
        taken = [(result.commit.id, result.report.taken.get("images", 0))]
        metrics.send_import(task.ws, project or metrics.NO_PROJECT, taken, started)
        if project is not None:
            tell(context, project, "data", {"branch": self.branch, "commit": found["commit"]})
        for line in result.report.lines():
            self.log.info("%s", line)
        self.log.info("Imported into %s: commit %s", self.branch, result.commit.id)
        return found


class PrepareDatasetOperator(BaseOperator):
    """
    Merge datasets, take out the images of others, filter, and draw: one commit.

    The XCom has the commit. A run is one operation, whatever is cleared.

    :param datasets: What to merge; ``tr:``, ``va:`` or ``te:`` before one puts its images into
        that split. (templated)
    :param branch: Branch to commit to. (templated)
    :param merge_strategy: Where they differ on an image: ``stop``, ``host``, ``guest`` or
        ``union``. (templated)
    :param exclude: Datasets whose images are left out. (templated)
    :param conditions: What an image must fulfil, by the names of
        :class:`mir_ops.dataset.Conditions`, a bound as its least value. (templated)
    :param count: How many images are drawn. (templated)
    :param rate: Or which share of them. (templated)
    :param seed: Which ones: the same seed draws the same images. (templated)
    :param stratify: Keep the mix of ``class``, ``split`` or ``attribute:NAME``. (templated)
    :param mir_conn_id: Connection to the workspace.
    """

    template_fields: Sequence[str] = (
        *("datasets", "branch", "merge_strategy", "exclude", "conditions"),
        *("count", "rate", "seed", "stratify"),
    )
    operator_extra_links = (DatasetVersionLink(),)

    def __init__(
        self,
        *,
        datasets: Sequence[str],
        branch: str,
        merge_strategy: Strategy = "stop",
        exclude: Sequence[str] | None = None,
        conditions: Mapping[str, Any] | None = None,
        count: int | None = None,
        rate: float | None = None,
        seed: int = 0,
        stratify: str | None = None,
        mir_conn_id: str = MirHook.default_conn_name,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.datasets = datasets
        self.branch = branch
        self.merge_strategy = merge_strategy
        self.exclude = exclude
        self.conditions = conditions
        self.count = count
        self.rate = rate
        self.seed = seed
        self.stratify = stratify
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        from mir_ops.tasks.datasets import prepare_dataset, read_conditions, read_sampling

        with explained(self.log):
            task = task_of(self, context, open_workspace(context, self.mir_conn_id))
            result = prepare_dataset(
                task,
                datasets=self.datasets,
                conditions=read_conditions(self.conditions or {}),
                strategy=self.merge_strategy,
                exclude=self.exclude or (),
                sampling=read_sampling(
                    self.count, self.rate, seed=self.seed, stratify=self.stratify
                ),
            )
            leave_version(context, task, result)
        self.log.info("%d images in %s", result["images"], self.branch)
        return result
