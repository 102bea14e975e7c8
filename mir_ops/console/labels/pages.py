"""What people were asked to label in a project."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from mir_ops.console.access import ProjectKey, needs
from mir_ops.console.frame import Kept, page
from mir_ops.console.labels.views import labels_page

pages = APIRouter(prefix="/projects/{project}/labels")


@pages.get("", dependencies=[needs("read")])
def show_labels(request: Request, catalog: Kept, project: ProjectKey) -> HTMLResponse:
    return page(request, "labels/list.html", **labels_page(catalog, catalog.projects.get(project)))
