"""A dataset version."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from mir_ops.console.access import ProjectKey, needs
from mir_ops.console.frame import Opened, page
from mir_ops.console.images import views
from mir_ops.console.images.selecting import FromQuery

pages = APIRouter(prefix="/projects/{project}/versions")


@pages.get("/{commit}", dependencies=[needs("read")])
def show_version(
    request: Request, sources: Opened, project: ProjectKey, commit: str, selection: FromQuery
) -> HTMLResponse:
    version = sources.version(project, commit)
    shown = views.version_page(sources, project, version, selection)
    return page(request, "versions/show.html", **shown)
