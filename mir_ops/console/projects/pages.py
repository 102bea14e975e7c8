"""The first page, and a project's own."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from mir_ops.console.access import ProjectKey, may, needs
from mir_ops.console.frame import Opened, page
from mir_ops.console.projects import views

pages = APIRouter()


@pages.get("/", dependencies=[needs("read")])
def show_projects(request: Request, sources: Opened) -> HTMLResponse:
    projects = [entry for entry in sources.projects() if may(request, "read", entry.key)]
    return page(request, "projects/list.html", **views.projects_page(sources, projects))


@pages.get("/projects/{project}", dependencies=[needs("read")])
def show_project(request: Request, sources: Opened, project: ProjectKey) -> HTMLResponse:
    return page(request, "projects/show.html", **views.rounds_page(sources, project))
