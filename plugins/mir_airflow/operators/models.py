"""Models outside a round: take one, and measure one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from mir_airflow.hooks.mir import MirHook
from mir_airflow.links import DatasetVersionLink
from mir_airflow.places import explained, open_workspace
from mir_airflow.retries import MIR_RETRIES
from mir_airflow.single_steps import leave_version, refuse_unknown, task_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy

    from mir_ops.executor.classes import Unknown


class ImportModelOperator(BaseOperator):
    """
    Take a model package of ours or of YMIR's. The same package is the same model.

    The XCom has its id, stages and classes.

    :param source: Package in the connection's sharing folder, or at a URL. (templated)
    :param unknown_classes: Classes that no dataset knows: ``stop``, ``ignore`` (take the model as
        it is) or ``add``. (templated)
    :param promote: A name that means this model from now on. (templated)
    :param mir_conn_id: Connection to the workspace.
    """

    template_fields: Sequence[str] = ("source", "unknown_classes", "promote")

    def __init__(
        self,
        *,
        source: str,
        unknown_classes: Unknown = "stop",
        promote: str | None = None,
        mir_conn_id: str = MirHook.default_conn_name,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.source = source
        self.unknown_classes = unknown_classes
        self.promote = promote
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        from mir_ops.tasks.models import import_shared_model

        with explained(self.log):
            refuse_unknown(context)
            model = import_shared_model(
                MirHook(self.mir_conn_id).workspace(),
                self.source,
                unknown=self.unknown_classes,
                promote=self.promote,
            )
        self.log.info("Model %s, best stage %s", model["model"], model["best_stage"])
        return model


class EvaluateModelOperator(BaseOperator):
    """
    Measure a model's predictions in a dataset against the ground truth.

    The XCom has COCO's metrics; the mark of every box is in the version that it commits.

    :param dataset: The version with the predictions. (templated)
    :param model: Whose predictions; None: the only ones that there are. (templated)
    :param ground_truth: The version whose ground truth counts; None: the same. (templated)
    :param classes: The classes to measure; empty: all that occur. (templated)
    :param split: ``train``, ``val`` or ``test``; None: all images. (templated)
    :param iou: From which overlap on a box is right, for marks and mistakes. (templated)
    :param confidence: Least confidence of these; None: that of the best F1. (templated)
    :param masks: Also COCO's metrics of masks and polygons. (templated)
    :param semantic: Also mIoU, mAcc and aAcc of pixels. (templated)
    :param branch: Where the marks are kept. (templated)
    :param mir_conn_id: Connection to the workspace.
    """

    template_fields: Sequence[str] = (
        *("dataset", "model", "ground_truth", "classes", "split", "iou", "confidence"),
        *("masks", "semantic", "branch"),
    )
    operator_extra_links = (DatasetVersionLink(),)

    def __init__(
        self,
        *,
        dataset: str,
        branch: str,
        model: str | None = None,
        ground_truth: str | None = None,
        classes: Sequence[str] | None = None,
        split: str | None = None,
        iou: float = 0.5,
        confidence: float | None = None,
        masks: bool = False,
        semantic: bool = False,
        mir_conn_id: str = MirHook.default_conn_name,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.dataset = dataset
        self.model = model
        self.ground_truth = ground_truth
        self.classes = classes
        self.split = split
        self.iou = iou
        self.confidence = confidence
        self.masks = masks
        self.semantic = semantic
        self.branch = branch
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        from mir_ops.evaluation.versions import Settings
        from mir_ops.tasks.models import evaluate_dataset

        with explained(self.log):
            task = task_of(self, context, open_workspace(context, self.mir_conn_id))
            result = evaluate_dataset(
                task,
                dataset=self.dataset,
                model=self.model,
                ground_truth=self.ground_truth,
                classes=self.classes or (),
                split=self.split,
                settings=Settings(
                    iou=self.iou,
                    confidence=self.confidence,
                    masks=self.masks,
                    semantic=self.semantic,
                ),
            )
            leave_version(context, task, result)
        for name, value in result["coco"].items():
            self.log.info("%s %s", name, "-" if value is None else f"{value:.4f}")
        return result
