"""Train, infer and mine outside Airflow: prepare a job, run it here, commit what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.executor.cache import AssetCache
from mir_ops.executor.failures import ExecutorFailedError
from mir_ops.executor.inference import InferenceReport, collect_inference, collect_mining
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
    """What a person asks for: which image does it, with which settings, and where it is kept."""

    op_id: str
    branch: str
    image: ExecutorImage
    config: Mapping[str, Any]
    message: str

    @property
    def seed(self) -> int | None:
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else None


def train_model(
    desk: Desk,
    order: Order,
    version: Version,
    *,
    class_names: Sequence[str],
    start: ChosenModel | None = None,
) -> tuple[Commit, Package, Job]:
    """Train once; the commit holds what was trained on, and its operation names the model."""
    origin = {
        "image": order.image.image,
        "config": dict(order.config),
        "training": version.commit.id,
        "started_from": start.name if start else None,
    }
    if start:
        refuse_frozen_start(desk.ws, start)
    job = prepare_training(
        desk.ws.store,
        version,
        op_id=order.op_id,
        image=order.image,
        class_names=class_names,
        config=order.config,
        jobs_dir=desk.jobs_dir,
        cache=AssetCache(desk.cache_dir),
        limits=desk.limits,
        labels={**desk.labels, "mir.branch": order.branch},
        model=start.files() if start else None,
    )
    try:
        desk.run(job)
    except ExecutorFailedError as error:
        raise _with_stages(desk.ws, job, error, origin) from None
    package = keep_training(desk.ws, collect_training(job), origin)
    trained = {**_trained(package), "config": origin["config"]}
    trained["started_from"] = origin["started_from"]
    with _commit(desk, order, version, "train", trained) as edit:
        pass
    return edit.commit, package, job


def infer(
    desk: Desk, order: Order, version: Version, model: ChosenModel, class_ids: Mapping[str, int]
) -> tuple[Commit, InferenceReport, Job]:
    """Predict on every image; the commit adds the predictions as the model's layer."""
    ids = version.asset_ids()
    job = _prepare(desk, order, version, ids, model)
    desk.run(job)
    result = collect_inference(job, class_ids)
    predicted = _predicted(order, model, result.report.to_dict())
    with _commit(desk, order, version, "infer", predicted) as edit:
        edit.put_layer(layer_of(model), result.predictions, assets=result.assets)
        if result.embeddings is not None:
            edit.put_layer(f"embeddings:{model.package.model_id}", result.embeddings)
    return edit.commit, result.report, job


def mine(
    desk: Desk,
    order: Order,
    version: Version,
    model: ChosenModel,
    class_ids: Mapping[str, int],
    *,
    top: int,
    predict: bool,
) -> tuple[Commit, InferenceReport | None, Job]:
    """Keep the `top` images that the executor scores highest, with their scores as a layer."""
    from mir_ops.dataset.filtering import keep

    check_top(top)
    job = _prepare(desk, order, version, version.asset_ids(), model, mining=True, predict=predict)
    desk.run(job)
    result = collect_inference(job, class_ids) if predict else None
    scores = result.mining if result else collect_mining(job)
    assert scores is not None
    best = scores.slice(0, min(top, scores.num_rows))
    place = best.schema.get_field_index("rank")
    best = best.set_column(place, best.schema.field("rank"), pa.array(range(len(best)), pa.int64()))
    kept = best["asset_id"].combine_chunks()
    kept = kept.take(pc.sort_indices(kept))
    report = result.report.to_dict() if result else {}
    changes = keep(version, kept)
    changes.put_layer(f"scores:{order.image.name}", best.sort_by("asset_id"), kept)
    if result is not None:
        wanted = pc.is_in(result.predictions["asset_id"], value_set=kept)
        looked_at = result.assets.filter(pc.is_in(result.assets, value_set=kept))
        changes.put_layer(layer_of(model), result.predictions.filter(wanted), looked_at)
        if (vectors := result.embeddings) is not None:
            known = vectors.filter(pc.is_in(vectors["asset_id"], value_set=kept))
            changes.put_layer(f"embeddings:{model.package.model_id}", known, None)
    predicted = _predicted(order, model, {"topk": top, **report})
    with _commit(desk, order, version, "mine", predicted) as edit:
        edit.take(changes)
    return edit.commit, result.report if result else None, job


def layer_of(model: ChosenModel) -> str:
    """The layer of a model's predictions."""
    return f"predictions:{model.package.model_id}"


def check_top(top: int) -> None:
    """Refuse to keep nothing."""
    if top < 1:
        raise InvalidInputError(
            f"`--topk` is {top}", code="bad-topk", hint="Keep at least one image"
        )


def _prepare(
    desk: Desk,
    order: Order,
    version: Version,
    ids: pa.Array,
    model: ChosenModel,
    *,
    mining: bool = False,
    predict: bool = True,
) -> Job:
    return prepare_inference(
        desk.ws.store,
        version,
        op_id=order.op_id,
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
    )


def _trained(package: Package) -> dict[str, Any]:
    return {
        "model": package.model_id,
        "package": package.package,
        "best_stage": package.best_stage,
        "stages": {name: dict(found) for name, found in package.stages.items()},
        "class_names": list(package.classes),
    }


def _predicted(order: Order, model: ChosenModel, report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": model.package.model_id,
        "stage": model.stage,
        "class_names": list(model.package.classes),
        "config": dict(order.config),
        **report,
    }


def _commit(
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
    )


def _with_stages(
    ws: Workspace, job: Job, error: ExecutorFailedError, origin: Mapping[str, Any]
) -> ExecutorFailedError:
    """The error, with what the training had written before it came."""
    left = find_stages(job)
    if left is None:
        return error
    package = keep_training(ws, left, {**origin, "error": str(error)[:2000]}, state="failed")
    return ExecutorFailedError(
        f"{error}\nKept what it wrote before as model `{package.model_id}`, "
        f"stages: {', '.join(package.stages)}",
        code=error.code,
        hint=error.hint,
        executor_code=error.executor_code,
    )
