"""Steps on their own whose work an executor does: train, infer, mine, look at a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from mir_airflow import metrics
from mir_airflow.links import DatasetVersionLink
from mir_airflow.operators.executor import ExecutorOperator
from mir_airflow.places import explained, place_of
from mir_airflow.single_steps import leave_version, refuse_unknown, task_at

if TYPE_CHECKING:
    from airflow.sdk import Context

    from mir_ops.dataset.merging import Strategy
    from mir_ops.executor.classes import Unknown
    from mir_ops.rounds.executing import Step
    from mir_ops.rounds.place import Place
    from mir_ops.tasks.asking import JobAsked, Task
    from mir_ops.workspace import Workspace

_JOB = ("executor_name", "config", "wanted_gpus", "memory_gib", "hours")


class JobOperator(ExecutorOperator):
    """
    One job of an executor that a run asks for. A run is one operation, whatever is cleared.

    :param executor_name: Name of the executor: one that is registered, or comes with mir-ops.
        (templated)
    :param config: Settings over those of the executor's template. (templated)
    :param wanted_gpus: How many GPUs it may use of those that the task holds; None: all of them.
        (templated)
    :param memory_gib: How much memory it may use. (templated)
    :param hours: How long it may run. (templated)
    """

    def __init__(
        self,
        *,
        executor_name: str | None,
        config: Mapping[str, Any] | None = None,
        wanted_gpus: int | None = None,
        memory_gib: float = 8.0,
        hours: float = 24.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.executor_name = executor_name
        self.config = config
        self.wanted_gpus = wanted_gpus
        self.memory_gib = memory_gib
        self.hours = hours

    def execute(self, context: Context) -> Any:
        with explained(self.log):
            refuse_unknown(context)
        return super().execute(context)

    def open_step(self, workspace: Workspace, place: Place) -> Step:
        return self.ask(task_at(self, workspace, place), self._asked())

    def ask(self, task: Task, asked: JobAsked) -> Step:
        """What the run asks for."""
        raise NotImplementedError

    def leave(self, context: Context, workspace: Workspace, result: dict[str, Any]) -> None:
        task = task_at(self, workspace, place_of(context, workspace.deployment))
        leave_version(context, task, result)

    def project(self, workspace: Workspace) -> str:
        from mir_ops.tasks.asking import project_of

        return project_of(workspace, getattr(self, "branch", "")) or metrics.NO_PROJECT

    def _asked(self) -> JobAsked:
        from mir_ops.tasks.asking import JobAsked

        return JobAsked(
            executor=self.executor_name or "",
            config=self.config or {},
            gpus=self.gpus if self.wanted_gpus is None else self.wanted_gpus,
            memory_gib=self.memory_gib,
            hours=self.hours,
        )


class TrainModelOperator(JobOperator):
    """
    Train a model on dataset versions; several are merged on the branch first.

    :param training: Datasets to train on. (templated)
    :param validation: Datasets to measure the model on; empty: the images keep their splits.
        (templated)
    :param merge_strategy: Where they differ on an image: ``stop``, or ``host`` (the first wins),
        ``guest`` (the last), ``union``. (templated)
    :param classes: The classes to train; empty: all that the dataset knows. (templated)
    :param pretrained: A model to start from. (templated)
    :param branch: Where what it was trained on is kept. (templated)
    """

    template_fields: Sequence[str] = (
        *("training", "validation", "merge_strategy", "classes", "pretrained", "branch"),
        *_JOB,
    )
    operator_extra_links = (DatasetVersionLink(),)

    def __init__(
        self,
        *,
        training: Sequence[str],
        branch: str,
        validation: Sequence[str] | None = None,
        merge_strategy: Strategy = "stop",
        classes: Sequence[str] | None = None,
        pretrained: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training = training
        self.validation = validation
        self.merge_strategy = merge_strategy
        self.classes = classes
        self.pretrained = pretrained
        self.branch = branch

    def ask(self, task: Task, asked: JobAsked) -> Step:
        from mir_ops.tasks.jobs import training_step

        return training_step(
            task,
            asked,
            training=self.training,
            validation=self.validation or (),
            strategy=self.merge_strategy,
            classes=self.classes or (),
            pretrained=self.pretrained,
        )


class InferDatasetOperator(JobOperator):
    """
    Predict on every image of a dataset. Without an executor the task is skipped.

    :param dataset: What to look at. (templated)
    :param model: The model. (templated)
    :param unknown_classes: Classes of the model that the dataset does not know: ``stop``,
        ``ignore`` or ``add``. (templated)
    :param branch: Where the version with the predictions is kept. (templated)
    """

    template_fields: Sequence[str] = ("dataset", "model", "unknown_classes", "branch", *_JOB)
    operator_extra_links = (DatasetVersionLink(),)

    def __init__(
        self,
        *,
        dataset: str,
        model: str | None,
        branch: str,
        unknown_classes: Unknown = "stop",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.model = model
        self.unknown_classes = unknown_classes
        self.branch = branch

    def execute(self, context: Context) -> Any:
        if self.executor_name is None:
            raise AirflowSkipException("No executor is asked for: the predictions are there")
        return super().execute(context)

    def ask(self, task: Task, asked: JobAsked) -> Step:
        from mir_ops.tasks.jobs import inference_step

        return inference_step(
            task, asked, dataset=self.dataset, model=self.model or "", unknown=self.unknown_classes
        )


class MineDatasetOperator(JobOperator):
    """
    Keep the images of a dataset that are worth labelling most, with the reason for each.

    :param dataset: What to pick from. (templated)
    :param model: The model that looks at the images. (templated)
    :param count: How many images to keep. (templated)
    :param strategy: How to pick them; ``executor``: as the executor itself ranks them. (templated)
    :param parameters: Of the strategy. (templated)
    :param exclude: Datasets whose images are not picked. (templated)
    :param predictions: Whether what the model found on them is kept. (templated)
    :param unknown_classes: Classes of the model that the dataset does not know. (templated)
    :param branch: Where the images that are kept go. (templated)
    """

    template_fields: Sequence[str] = (
        *("dataset", "model", "count", "strategy", "parameters", "exclude", "predictions"),
        *("unknown_classes", "branch"),
        *_JOB,
    )
    operator_extra_links = (DatasetVersionLink(),)

    def __init__(
        self,
        *,
        dataset: str,
        model: str,
        count: int,
        branch: str,
        strategy: str = "hybrid",
        parameters: Mapping[str, Any] | None = None,
        exclude: Sequence[str] | None = None,
        predictions: bool = True,
        unknown_classes: Unknown = "stop",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.model = model
        self.count = count
        self.strategy = strategy
        self.parameters = parameters
        self.exclude = exclude
        self.predictions = predictions
        self.unknown_classes = unknown_classes
        self.branch = branch

    def ask(self, task: Task, asked: JobAsked) -> Step:
        from mir_ops.tasks.jobs import mining_step

        return mining_step(
            task,
            asked,
            dataset=self.dataset,
            model=self.model,
            top=self.count,
            strategy=self.strategy,
            parameters=self.parameters,
            exclude=self.exclude or (),
            predict=self.predictions,
            unknown=self.unknown_classes,
        )


class VerifyModelOperator(JobOperator):
    """
    Let a model look at one picture.

    The XCom has the boxes, and the names of two files in the store: the picture with the boxes
    drawn, and the boxes as ``infer-result.json``.

    :param model: The model. (templated)
    :param picture: A picture in the sharing folder, or at a URL. (templated)
    """

    template_fields: Sequence[str] = ("model", "picture", *_JOB)

    def __init__(self, *, model: str, picture: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.picture = picture

    def ask(self, task: Task, asked: JobAsked) -> Step:
        from mir_ops.tasks.pictures import look_step

        return look_step(task, asked, model=self.model, picture=self.picture)
