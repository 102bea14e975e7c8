"""The executor images, and one with its settings and what the conformance kit said."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from mir_ops.console.access import may, needs
from mir_ops.console.executors.public import PUBLIC
from mir_ops.console.executors.views import get_executor, list_executors
from mir_ops.console.frame import Opened, page
from mir_ops.executor.checks import TEXTS

pages = APIRouter(prefix="/executors")


@pages.get("", dependencies=[needs("read")])
def show_executors(
    request: Request, sources: Opened, image: str = "", protocol: str = ""
) -> HTMLResponse:
    return page(
        request,
        "executors/list.html",
        executors=list_executors(sources.catalog),
        public=PUBLIC,
        wanted={"image": image, "protocol": protocol},
    )


@pages.get("/{name:path}", dependencies=[needs("read")])
def show_executor(request: Request, sources: Opened, name: str) -> HTMLResponse:
    catalog = sources.catalog
    found = get_executor(catalog, name)
    projects = catalog.projects.list() if catalog else []
    return page(
        request,
        "executors/show.html",
        executor=found,
        texts=TEXTS,
        projects=[
            each
            for each in projects
            if each.spec.executor.name == found.name and may(request, "read", each.key)
        ],
    )
