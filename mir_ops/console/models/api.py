"""Models by the JSON API: what they measured, as numbers; named, promoted, deleted; verified."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from mir_ops.console.access import ProjectKey, needs
from mir_ops.console.frame import Kept, Opened
from mir_ops.console.headers import IMAGE_POLICY
from mir_ops.console.models.looks import (
    Looks,
    executors_for,
    find_picture,
    looks_of,
    take_picture,
)
from mir_ops.console.models.measured import (
    Measured,
    Metric,
    chosen_of,
    compare_models,
    report_of,
)
from mir_ops.console.models.shelf import ModelLine, find_model, measured_of, models_of
from mir_ops.console.models.views import curves_of
from mir_ops.console.runs import runs_of
from mir_ops.console.sources import Sources
from mir_ops.errors import InvalidInputError

api = APIRouter()
_model = APIRouter(prefix="/projects/{project}/models/{model}")

_PICTURE: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string"}}},
    }
}


class NameAnswer(BaseModel):
    """A name that means one stage of the model."""

    name: str
    stage: str
    promoted_at: datetime


class ModelAnswer(BaseModel):
    """A model. `metrics` are those of its newest evaluation in a round."""

    model: str
    title: str
    description: str
    state: str
    stages: dict[str, dict[str, float]]
    best_stage: str
    classes: list[str]
    object_type: int
    rounds: list[int]
    names: list[NameAnswer]
    metrics: dict[str, float | None]
    origin: dict[str, Any]
    created_at: datetime
    deleted_at: datetime | None


class ModelList(BaseModel):
    models: list[ModelAnswer]


class ModelChange(BaseModel):
    """Keys that are left out stay as they are; null is nothing at all."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = None
    description: str | None = None
    best_stage: str | None = None


class NewMeaning(BaseModel):
    """The name, and the stage that it is to mean; by default the best."""

    model_config = ConfigDict(extra="forbid")

    name: str = "production"
    stage: str | None = None


class EvaluationAnswer(BaseModel):
    """What the model was measured on; `key` stands for it in addresses."""

    key: str
    name: str
    round: int | None
    ground_truth: str
    predictions: str
    layer: str
    split: str | None
    metrics: dict[str, float | None]


class EvaluationList(BaseModel):
    evaluations: list[EvaluationAnswer]


class CurveAnswer(BaseModel):
    name: str
    steps: list[float]
    values: list[float]


class CurveList(BaseModel):
    curves: list[CurveAnswer]


class LookAnswer(BaseModel):
    """How far a look at a picture is; boxes are as `infer-result.json` has them."""

    look: str
    state: str = Field(description="waiting, done or failed")
    boxes: list[dict[str, Any]] = []
    message: str | None = None
    address: str | None = None


@api.get("/projects/{project}/models", dependencies=[needs("read")])
def list_models(sources: Opened, project: ProjectKey, deleted: bool = False) -> ModelList:
    """The models of a project, newest first; or those that were deleted."""
    return ModelList(
        models=[_answer(line) for line in models_of(sources, project, deleted=deleted)]
    )


@_model.get("", dependencies=[needs("read")])
def show_model(sources: Opened, project: ProjectKey, model: str) -> ModelAnswer:
    """One model, by its id or eight digits of it or more."""
    return _answer(find_model(sources, project, model))


@_model.patch("", dependencies=[needs("edit")])
def change_model(
    sources: Opened, catalog: Kept, project: ProjectKey, model: str, sent: ModelChange
) -> ModelAnswer:
    """Give it a title, a description, or another best stage."""
    line = find_model(sources, project, model)
    texts = {
        key: getattr(sent, key) or ""
        for key in ("title", "description")
        if key in sent.model_fields_set
    }
    catalog.packages.change(line.id, best_stage=sent.best_stage, **texts)
    return _answer(find_model(sources, project, line.id))


@_model.delete("", dependencies=[needs("delete")])
def delete_model(sources: Opened, catalog: Kept, project: ProjectKey, model: str) -> ModelAnswer:
    """Take it out of the lists. Its package is kept; one that a name means stays."""
    line = find_model(sources, project, model)
    catalog.packages.delete(line.id)
    return _answer(find_model(sources, project, line.id))


@_model.post("/restore", dependencies=[needs("delete")])
def restore_model(sources: Opened, catalog: Kept, project: ProjectKey, model: str) -> ModelAnswer:
    """Bring a deleted model back, as it was."""
    line = find_model(sources, project, model)
    catalog.packages.restore(line.id)
    return _answer(find_model(sources, project, line.id))


@_model.post("/promote", dependencies=[needs("publish")])
def promote_model(
    sources: Opened, project: ProjectKey, model: str, sent: NewMeaning
) -> ModelAnswer:
    """Let a name such as `production` mean a stage of this model from now on."""
    from mir_ops.executor import models

    line = find_model(sources, project, model)
    stage = f"@{sent.stage}" if sent.stage else ""
    chosen = models.choose_model(sources.workspace, f"{line.id}{stage}")
    models.promote_model(sources.workspace, chosen, sent.name)
    return _answer(find_model(sources, project, line.id))


@_model.get("/package", dependencies=[needs("read")], response_class=FileResponse)
def send_package(sources: Opened, project: ProjectKey, model: str) -> FileResponse:
    """The model's package: a `tar.gz` that `mir models import` and YMIR take."""
    line = find_model(sources, project, model)
    folder = tempfile.TemporaryDirectory(prefix="mir-package-")
    path = Path(folder.name) / "model.tar.gz"
    try:
        sources.store.fetch_blob(line.package.package, path)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        path,
        media_type="application/gzip",
        filename=f"{line.id[:12]}.tar.gz",
        background=BackgroundTask(folder.cleanup),
    )


@_model.get("/curves", dependencies=[needs("read")])
def show_curves(sources: Opened, project: ProjectKey, model: str) -> CurveList:
    """The curves of its training, as far as they were kept."""
    line = find_model(sources, project, model)
    curves = curves_of(sources.store, line.package.origin)
    return CurveList(
        curves=[
            CurveAnswer(name=each.name, steps=list(each.steps), values=list(each.values))
            for each in curves
        ]
    )


@_model.get("/evaluations", dependencies=[needs("read")])
def list_evaluations(sources: Opened, project: ProjectKey, model: str) -> EvaluationList:
    """What the model was measured on, newest first."""
    line = find_model(sources, project, model)
    found = measured_of(sources, project, line)
    return EvaluationList(evaluations=[_evaluation(each) for each in found])


@_model.get("/evaluations/{key}", dependencies=[needs("read")])
def show_evaluation(sources: Opened, project: ProjectKey, model: str, key: str) -> dict[str, Any]:
    """All that was measured, as `mir evaluate --json` says it: metrics of each class, confusion,
    mistakes; and in `counts` the hits and wrong ones at a hundred confidences."""
    line = find_model(sources, project, model)
    measured = chosen_of(measured_of(sources, project, line), key)
    assert measured is not None
    return dict(report_of(sources.store, measured))


@_model.get("/compare/{other}", dependencies=[needs("read")])
def compare(
    sources: Opened,
    project: ProjectKey,
    model: str,
    other: str,
    on: str = Query("validation", description="Name of what both were measured on"),
    metric: Metric = "map50",
) -> dict[str, Any]:
    """Whether `other` is better than `model`: the difference and its interval."""
    a, b = (find_model(sources, project, each) for each in (model, other))
    pair = pair_of(sources, project, a, b, on)
    return {"on": on, **compare_models(sources.store, *pair, metric).to_dict()}


@_model.post("/looks", status_code=202, dependencies=[needs("edit")], openapi_extra=_PICTURE)
async def look(
    request: Request,
    sources: Opened,
    project: ProjectKey,
    model: str,
    executor: str | None = None,
    stage: str | None = None,
) -> LookAnswer:
    """Let the model look at the picture that is sent. Ask the look for its boxes in a moment."""
    looks = _looks(request, sources, project)
    chosen, by = await run_in_threadpool(_asked, sources, project, model, stage, executor)
    picture = await take_picture(request.stream(), looks.folder)
    await run_in_threadpool(looks.start, picture, model=chosen, executor=by)
    return LookAnswer(look=picture.name, state="waiting")


@_model.get("/looks/{look}", dependencies=[needs("read")])
def show_look(
    request: Request, sources: Opened, project: ProjectKey, model: str, look: str
) -> LookAnswer:
    """How far the look is, and what was found."""
    find_model(sources, project, model)
    looks = _looks(request, sources, project)
    name = find_picture(looks.folder, look).name
    found = looks.read(name)
    return LookAnswer(
        look=name,
        state=found.state,
        boxes=[dict(box) for box in found.boxes],
        message=found.message,
        address=found.address,
    )


@_model.get("/looks/{look}/picture", dependencies=[needs("read")], response_class=FileResponse)
def send_picture(
    request: Request, sources: Opened, project: ProjectKey, model: str, look: str
) -> FileResponse:
    """The picture that was sent."""
    find_model(sources, project, model)
    picture = find_picture(_looks(request, sources, project).folder, look)
    headers = {
        "Content-Security-Policy": IMAGE_POLICY,
        "Cache-Control": "private, max-age=3600",
        "Vary": "Cookie, Authorization",
    }
    return FileResponse(picture.path, headers=headers, media_type=picture.media_type)


def pair_of(
    sources: Sources, project: str, a: ModelLine, b: ModelLine, on: str
) -> tuple[Measured, Measured]:
    """The newest evaluation of each on what goes by this name."""
    found = []
    for line in (a, b):
        named = [each for each in measured_of(sources, project, line) if each.name == on]
        if not named:
            raise InvalidInputError(
                f"Model `{line.id[:12]}` was not measured on `{on[:80]}`",
                code="not-measured",
                hint="Measure both on the same images: the DAG `model_evaluate`, or `mir evaluate`",
            )
        found.append(named[0])
    return found[0], found[1]


def _looks(request: Request, sources: Sources, project: str) -> Looks:
    looks = looks_of(sources, runs_of(request), project)
    if looks is None:
        raise InvalidInputError(
            "Pictures cannot be sent here",
            code="no-sharing-folder",
            hint="Name a sharing folder in the connection, or use `mir models verify`",
        )
    return looks


def _asked(
    sources: Sources, project: str, model: str, stage: str | None, executor: str | None
) -> tuple[str, str]:
    """The model and stage by one name, and the executor, both sure to be known."""
    from mir_ops.executor.models import choose_model
    from mir_ops.executor.registered import find_known

    line, ws = find_model(sources, project, model), sources.workspace
    chosen = choose_model(ws, f"{line.id}@{stage}" if stage else line.id)
    image = line.package.origin.get("image")
    by = executor or executors_for(ws.catalog.executors.list(), image)[0]
    find_known(ws.catalog, by, chosen.package.object_type)
    return chosen.name, by


def _answer(line: ModelLine) -> ModelAnswer:
    package = line.package
    return ModelAnswer(
        model=line.id,
        title=package.title,
        description=package.description,
        state=package.state,
        stages={name: dict(metrics) for name, metrics in package.stages.items()},
        best_stage=package.best_stage,
        classes=list(package.classes),
        object_type=package.object_type,
        rounds=line.rounds,
        names=[
            NameAnswer(name=each.name, stage=each.stage, promoted_at=each.promoted_at)
            for each in line.names
        ],
        metrics={name: line.metrics.get(name) for name in ("map50", "map50_95")},
        origin=dict(package.origin),
        created_at=package.created_at,
        deleted_at=package.deleted_at,
    )


def _evaluation(measured: Measured) -> EvaluationAnswer:
    return EvaluationAnswer(
        key=measured.key,
        name=measured.name,
        round=measured.round,
        ground_truth=measured.truth,
        predictions=measured.predictions,
        layer=measured.layer,
        split=measured.split,
        metrics=dict(measured.metrics),
    )


api.include_router(_model)
