"""The models of a project, one model, two beside each other, and a look at a picture."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from mir_ops.console.access import ProjectKey, needs
from mir_ops.console.frame import Opened, page
from mir_ops.console.models import views
from mir_ops.console.models.api import pair_of
from mir_ops.console.models.looks import executors_for, looks_of
from mir_ops.console.models.measured import (
    Measured,
    Metric,
    chosen_of,
    compare_models,
    report_of,
)
from mir_ops.console.models.shelf import ModelLine, find_model, measured_of, models_of
from mir_ops.console.runs import runs_of
from mir_ops.console.sources import Sources
from mir_ops.errors import InvalidInputError

pages = APIRouter()
_models = APIRouter(prefix="/projects/{project}/models")


@_models.get("", dependencies=[needs("read")])
def show_models(
    request: Request, sources: Opened, project: ProjectKey, deleted: bool = False
) -> HTMLResponse:
    lines = models_of(sources, project, deleted=deleted)
    return page(request, "models/list.html", project=project, models=lines, deleted=deleted)


@_models.get("/compare", dependencies=[needs("read")])
def compare(
    request: Request,
    sources: Opened,
    project: ProjectKey,
    model: Annotated[list[str], Query()],
    on: str | None = None,
    metric: Metric = "map50",
) -> HTMLResponse:
    if len(set(model)) != 2:
        raise InvalidInputError(
            "A comparison takes two models", hint="Choose two in the list of models"
        )
    # The older one comes first: what a person asks is whether the newer one is better.
    lines = [find_model(sources, project, each) for each in model]
    a, b = sorted(lines, key=lambda line: line.created_at)
    shown = _compared(sources, project, a, b, on, metric)
    return page(request, "models/compare.html", project=project, a=a, b=b, **shown)


@_models.get("/{model}", dependencies=[needs("read")])
def show_model(
    request: Request, sources: Opened, project: ProjectKey, model: str, on: str | None = None
) -> HTMLResponse:
    line = find_model(sources, project, model)
    measured = measured_of(sources, project, line)
    chosen = chosen_of(measured, on)
    shown: dict[str, Any] = {"report": None, "failure": None}
    if chosen is not None:
        try:
            shown |= _measured(sources, chosen)
        except InvalidInputError as error:
            shown["failure"] = error
    return page(
        request,
        "models/show.html",
        project=project,
        line=line,
        measured=measured,
        chosen=chosen,
        curves=views.training_charts(sources.store, line),
        **shown,
    )


@_models.get("/{model}/verify", dependencies=[needs("read")])
def verify(request: Request, sources: Opened, project: ProjectKey, model: str) -> HTMLResponse:
    line = find_model(sources, project, model)
    executors = sources.catalog.executors.list() if sources.catalog else []
    return page(
        request,
        "models/verify.html",
        project=project,
        line=line,
        executors=executors_for(executors, line.package.origin.get("image")),
        possible=looks_of(sources, runs_of(request), project) is not None,
    )


def _measured(sources: Sources, chosen: Measured) -> dict[str, Any]:
    report = report_of(sources.store, chosen)
    ids = views.class_ids(sources, chosen.marks)
    return {
        "report": report,
        "whole": views.whole_at(report),
        "classes": views.class_rows(report),
        "chart": views.precision_chart([("", report)], movable=True),
        "matrix": views.matrix_of(report, chosen, ids),
        "mistakes": views.mistake_rows(report, chosen),
    }


def _compared(
    sources: Sources,
    project: str,
    a: ModelLine,
    b: ModelLine,
    on: str | None,
    metric: Metric,
) -> dict[str, Any]:
    """Both on what both were measured on; nothing to compare where that is nothing."""
    names = [
        list(dict.fromkeys(each.name for each in measured_of(sources, project, line)))
        for line in (a, b)
    ]
    common = [name for name in names[0] if name in names[1]]
    if on is None and not common:
        return {"common": [], "on": None, "found": None, "metric": metric}
    on = on or common[0]
    pair = pair_of(sources, project, a, b, on)
    reports = [report_of(sources.store, each) for each in pair]
    return {
        "common": common,
        "on": on,
        "metric": metric,
        "found": compare_models(sources.store, *pair, metric),
        "rows": views.compared_rows(*reports),
        "chart": views.precision_chart(list(zip(("A", "B"), reports, strict=True)), movable=False),
    }


pages.include_router(_models)
