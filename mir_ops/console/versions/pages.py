"""Datasets and their versions: the log, one version, two beside each other, new ones."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from mir_ops.console.access import ProjectKey, needs
from mir_ops.console.frame import Opened, page
from mir_ops.console.versions import making, views

pages = APIRouter(prefix="/projects/{project}/versions")

_FILTERS: Final = {"layer", "class", "split", "confidence", "picked", "page"}


@pages.get("", dependencies=[needs("read")])
def list_versions(
    request: Request,
    sources: Opened,
    project: ProjectKey,
    branch: str = "",
    q: str = "",
    number: Annotated[int, Query(alias="page", ge=1, le=10**7)] = 1,
) -> HTMLResponse:
    shown = views.list_page(sources, project, branch=branch, query=q.strip(), number=number)
    return page(request, "versions/list.html", **shown)


@pages.get("/compare", dependencies=[needs("read")])
def compare_versions(
    request: Request,
    sources: Opened,
    project: ProjectKey,
    old: Annotated[str, Query(alias="from")] = "",
    new: Annotated[str, Query(alias="to")] = "",
    kind: str = "",
    number: Annotated[int, Query(alias="page", ge=1, le=10**7)] = 1,
) -> HTMLResponse:
    shown = views.compare_page(sources, project, old.strip(), new.strip(), kind=kind, number=number)
    return page(request, "versions/compare.html", **shown)


@pages.get("/new", dependencies=[needs("read")])
def make_version(request: Request, sources: Opened, project: ProjectKey) -> HTMLResponse:
    shown = making.new_page(sources, project, dict(request.query_params))
    return page(request, "versions/new.html", **shown)


@pages.get("/import", dependencies=[needs("read")])
def import_version(request: Request, sources: Opened, project: ProjectKey) -> HTMLResponse:
    return page(request, "versions/import.html", **views.import_page(sources, project))


@pages.get("/{commit}", dependencies=[needs("read")])
def show_version(request: Request, sources: Opened, project: ProjectKey, commit: str) -> Response:
    version = sources.version(project, commit)
    if _FILTERS & request.query_params.keys():  # as addresses of the images were once
        return RedirectResponse(f"{commit}/images?{request.url.query}", 307)
    shown = views.version_page(sources, project, version)
    return page(request, "versions/about.html", **shown)


@pages.get("/{commit}/analysis", dependencies=[needs("read")])
def show_analysis(
    request: Request, sources: Opened, project: ProjectKey, commit: str
) -> HTMLResponse:
    version = sources.version(project, commit)
    return page(request, "versions/analysis.html", **views.analysis_page(sources, project, version))
