"""Labels for a dataset outside a round: ask for them, and take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from mir_airflow.hooks.mir import LabelsHook, MirHook
from mir_airflow.links import DatasetVersionLink
from mir_airflow.places import explained, open_workspace
from mir_airflow.retries import MIR_RETRIES
from mir_airflow.single_steps import leave_version, task_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy

    from mir_ops.tasks.labels import Prelabels


class RequestLabelsOperator(BaseOperator):
    """
    Ask people for labels of a dataset's images. A run asks once, whatever is cleared.

    The XCom is what ``LabelTaskSensor`` and ``TakeLabelsOperator`` need.

    :param dataset: The images to label. (templated)
    :param branch: Where the labelled images will be; what is asked for is pinned there. (templated)
    :param backend: ``label-studio``, ``folder``, ``oracle``, or another that is installed.
        (templated)
    :param classes: The classes to label, in this order; empty: the dataset's. (templated)
    :param prelabels: What people start from: ``none``, ``ground_truth`` or ``predictions``.
        (templated)
    :param model: Whose predictions; None: the only ones that there are. (templated)
    :param confidence: Least confidence of those that are shown. (templated)
    :param shapes: What to draw: ``box``, ``rotated_box``, ``polygon``, ``mask``. (templated)
    :param guide: A text for them, or the address of a page. (templated)
    :param guide_file: Or a text file in the sharing folder. (templated)
    :param annotators: Their e-mail addresses. (templated)
    :param mir_conn_id: Connection to the workspace.
    :param labels_conn_id: Connection to the label tool.
    """

    template_fields: Sequence[str] = (
        *("dataset", "branch", "backend", "classes", "prelabels", "model", "confidence"),
        *("shapes", "guide", "guide_file", "annotators"),
    )
    operator_extra_links = (DatasetVersionLink(),)

    def __init__(
        self,
        *,
        dataset: str,
        branch: str,
        backend: str,
        classes: Sequence[str] | None = None,
        prelabels: Prelabels = "none",
        model: str | None = None,
        confidence: float = 0.25,
        shapes: Sequence[str] = ("box",),
        guide: str | None = None,
        guide_file: str | None = None,
        annotators: Sequence[str] | None = None,
        mir_conn_id: str = MirHook.default_conn_name,
        labels_conn_id: str = LabelsHook.default_conn_name,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.dataset = dataset
        self.branch = branch
        self.backend = backend
        self.classes = classes
        self.prelabels = prelabels
        self.model = model
        self.confidence = confidence
        self.shapes = shapes
        self.guide = guide
        self.guide_file = guide_file
        self.annotators = annotators
        self.mir_conn_id = mir_conn_id
        self.labels_conn_id = labels_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        from mir_ops.tasks.labels import LabelsAsked, guide_of, request_labels

        with explained(self.log):
            task = task_of(self, context, open_workspace(context, self.mir_conn_id))
            asked = LabelsAsked(
                classes=tuple(self.classes or ()),
                prelabels=self.prelabels,
                model=self.model,
                confidence=self.confidence,
                shapes=tuple(self.shapes),
                guide=guide_of(task.ws, self.guide, self.guide_file),
                annotators=tuple(self.annotators or ()),
            )
            backend = LabelsHook(self.labels_conn_id).backend(self.backend)
            result = request_labels(task, backend, dataset=self.dataset, asked=asked)
            leave_version(context, task, result)
        self.log.info("Asked for labels of %d images: %s", result["requested"], result["task"])
        return result


class TakeLabelsOperator(BaseOperator):
    """
    Commit the images that are labelled. Cleared when more are, it takes these too.

    The XCom has the commit, and what people spent on it.

    :param asked: What was asked for, as ``RequestLabelsOperator`` left it. (templated)
    :param branch: Where the labelled images go. (templated)
    :param mir_conn_id: Connection to the workspace.
    :param labels_conn_id: Connection to the label tool.
    """

    template_fields: Sequence[str] = ("asked", "branch")
    operator_extra_links = (DatasetVersionLink(),)

    def __init__(
        self,
        *,
        asked: dict[str, Any],
        branch: str,
        mir_conn_id: str = MirHook.default_conn_name,
        labels_conn_id: str = LabelsHook.default_conn_name,
        retry_policy: RetryPolicy | None = MIR_RETRIES,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.asked = asked
        self.branch = branch
        self.mir_conn_id = mir_conn_id
        self.labels_conn_id = labels_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        from mir_ops.tasks.labels import take_labels

        with explained(self.log):
            task = task_of(self, context, open_workspace(context, self.mir_conn_id))
            backend = LabelsHook(self.labels_conn_id).backend(self.asked["backend"])
            result = take_labels(task, self.asked, backend)
            leave_version(context, task, result)
        self.log.info("%d labelled, %d skipped", result["done"], result["skipped"])
        return result
