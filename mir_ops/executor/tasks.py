"""Train and infer for a person: prepare a job, have it run, commit what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mir_ops.executor.cache import AssetCache
from mir_ops.executor.failures import ExecutorFailedError
from mir_ops.executor.inference import InferenceReport, collect_inference
from mir_ops.executor.inputs import prepare_inference, prepare_training
from mir_ops.executor.jobs import ExecutorImage, Job, Limits
from mir_ops.executor.lineage import refuse_frozen_start
from mir_ops.executor.models import ChosenModel, keep_training
from mir_ops.executor.monitor import Progress
from mir_ops.executor.training import collect_training, find_stages
from mir_ops.store import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from mir_ops.catalog import Package
    from mir_ops.store import Commit, Edit, Version
    from mir_ops.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where jobs are done: the workspace, the runner, the folders and limits of a job."""

    ws: Workspace
    runner: str
    jobs_dir: Path
    cache_dir: Path
    limits: Limits
    on_progress: Callable[[Progress], None] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def run(self, job: Job) -> None:
        from mir_ops.executor import run_job

        run_job(job, runner=self.runner, on_progress=self.on_progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person asks for: which image does it, with which settings, and where it is kept.

    `op_id` is the commit's operation, and the job's too unless that has an id of its own.
    """

    op_id: str
    branch: str
    image: ExecutorImage
    config: Mapping[str, Any]
    message: str
    job_id: str | None = None
    project: str | None = None
    run: str | None = None

    @property
    def seed(self) -> int | None:
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training in two halves; whoever holds it runs the job in between."""

    desk: Desk
    order: Order
    version: Version
    class_names: Sequence[str]
    start: ChosenModel | None = None

    def prepare(self) -> Job:
        desk, order, start = self.desk, self.order, self.start
        if start:
            refuse_frozen_start(desk.ws, start)
        return prepare_training(
            desk.ws.store,
            self.version,
            op_id=order.job_id or order.op_id,
            image=order.image,
            class_names=self.class_names,
            config=order.config,
            jobs_dir=desk.jobs_dir,
            cache=AssetCache(desk.cache_dir),
            limits=desk.limits,
            labels={**desk.labels, "mir.branch": order.branch},
            model=start.files() if start else None,
        )

    def collect(self, job: Job) -> tuple[Commit, Package]:
        """The commit holds what was trained on, and its operation names the model."""
        origin = self._origin()
        package = keep_training(self.desk.ws, collect_training(job), origin)
        trained = {**_trained(package), "config": origin["config"]}
        trained["started_from"] = origin["started_from"]
        with commit_job(self.desk, self.order, self.version, "train", trained) as edit:
            pass
        return edit.commit, package

    def keep_failed(self, job: Job, message: str) -> Package | None:
        """Keep the stages that a failed training has written, if it wrote some."""
        left = find_stages(job)
        if left is None:
            return None
        origin = {**self._origin(), "error": message[:2000]}
        return keep_training(self.desk.ws, left, origin, state="failed")

    def _origin(self) -> dict[str, Any]:
        return {
            "image": self.order.image.image,
            "config": dict(self.order.config),
            "training": self.version.commit.id,
            "started_from": self.start.name if self.start else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """Predictions on every image of a version, in two halves."""

    desk: Desk
    order: Order
    version: Version
    model: ChosenModel
    class_ids: Mapping[str, int]

    def prepare(self) -> Job:
        ids = self.version.asset_ids()
        return prepare_looking(self.desk, self.order, self.version, ids, self.model)

    def collect(self, job: Job) -> tuple[Commit, InferenceReport]:
        """The commit adds the predictions as the model's layer."""
        result, model = collect_inference(job, self.class_ids), self.model
        predicted = prediction_record(self.order, model, result.report.to_dict())
        with commit_job(self.desk, self.order, self.version, "infer", predicted) as edit:
            edit.put_layer(layer_of(model), result.predictions, assets=result.assets)
            if result.embeddings is not None:
                edit.put_layer(f"embeddings:{model.package.model_id}", result.embeddings)
        return edit.commit, result.report


def train_model(
    desk: Desk,
    order: Order,
    version: Version,
    *,
    class_names: Sequence[str],
    start: ChosenModel | None = None,
) -> tuple[Commit, Package, Job]:
    """Train once."""
    training = Training(
        desk=desk, order=order, version=version, class_names=class_names, start=start
    )
    job = training.prepare()
    try:
        desk.run(job)
    except ExecutorFailedError as error:
        raise _with_stages(training.keep_failed(job, str(error)), error) from None
    commit, package = training.collect(job)
    return commit, package, job


def infer(
    desk: Desk, order: Order, version: Version, model: ChosenModel, class_ids: Mapping[str, int]
) -> tuple[Commit, InferenceReport, Job]:
    """Predict on every image."""
    inference = Inference(desk=desk, order=order, version=version, model=model, class_ids=class_ids)
    job = inference.prepare()
    desk.run(job)
    commit, report = inference.collect(job)
    return commit, report, job


def layer_of(model: ChosenModel) -> str:
    """The layer of a model's predictions."""
    return f"predictions:{model.package.model_id}"


def prepare_looking(
    desk: Desk,
    order: Order,
    version: Version,
    ids: pa.Array,
    model: ChosenModel,
    *,
    mining: bool = False,
    predict: bool = True,
    also: Sequence[Version] = (),
) -> Job:
    """The job of an order that looks at these images; what the version lacks `also` has."""
    return prepare_inference(
        desk.ws.store,
        version,
        op_id=order.job_id or order.op_id,
        image=order.image,
        asset_ids=ids,
        model=model.files(),
        config=order.config,
        jobs_dir=desk.jobs_dir,
        cache=AssetCache(desk.cache_dir),
        limits=desk.limits,
        labels={**desk.labels, "mir.branch": order.branch},
        mine=mining,
        predict=predict,
        also=also,
    )


def _trained(package: Package) -> dict[str, Any]:
    return {
        "model": package.model_id,
        "package": package.package,
        "best_stage": package.best_stage,
        "stages": {name: dict(found) for name, found in package.stages.items()},
        "class_names": list(package.classes),
    }


def prediction_record(
    order: Order, model: ChosenModel, report: Mapping[str, Any]
) -> dict[str, Any]:
    """What a commit's operation says of a model that looked at its images."""
    return {
        "model": model.package.model_id,
        "stage": model.stage,
        "class_names": list(model.package.classes),
        "config": dict(order.config),
        **report,
    }


def commit_job(
    desk: Desk, order: Order, version: Version, kind: str, parameters: Mapping[str, Any]
) -> Edit:
    """The commit of a job on its version: what it found and with what."""
    return desk.ws.store.edit(
        order.branch,
        base=version,
        op_id=order.op_id,
        operation=Operation(
            kind=kind,
            parameters=parameters,
            inputs=(version.commit.id,),
            executor=order.image.image,
            seed=order.seed,
        ),
        message=order.message,
        project=order.project,
        run=order.run,
    )


def _with_stages(package: Package | None, error: ExecutorFailedError) -> ExecutorFailedError:
    """The error, with what the training had written before it came."""
    if package is None:
        return error
    return ExecutorFailedError(
        f"{error}\nKept what it wrote before as model `{package.model_id}`, "
        f"stages: {', '.join(package.stages)}",
        code=error.code,
        hint=error.hint,
        executor_code=error.executor_code,
    )
