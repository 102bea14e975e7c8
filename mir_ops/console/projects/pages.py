"""The first page, a project's own, and the forms that make and change projects."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from mir_ops.console.access import ProjectKey, may, needs
from mir_ops.console.frame import Opened, page
from mir_ops.console.projects import views
from mir_ops.console.projects.form import sections
from mir_ops.console.rounds.pages import project_page
from mir_ops.console.sources import NO_PROJECT, Sources
from mir_ops.errors import InvalidInputError, NotFoundError

pages = APIRouter()


@pages.get("/", dependencies=[needs("read")])
def show_projects(
    request: Request, sources: Opened, q: Annotated[str, Query(max_length=200)] = ""
) -> HTMLResponse:
    found = _readable(request, sources)
    broken = _broken(request, sources)
    return page(
        request,
        "projects/list.html",
        projects=[each for each in found if each.matches(q)],
        broken={key: error for key, error in broken.items() if q.lower() in key},
        some=bool(found or broken),
        words=q,
        tips=sources.tips() if sources.every_version and not found else [],
        no_project=NO_PROJECT,
    )


@pages.get("/deleted-projects", dependencies=[needs("read")])
def show_deleted(request: Request, sources: Opened) -> HTMLResponse:
    found = _readable(request, sources, deleted=True)
    restorable = {each.key for each in found if may(request, "delete", each.key)}
    return page(request, "projects/deleted.html", projects=found, restorable=restorable)


@pages.get("/new-project", dependencies=[needs("edit")])
def show_new_project(request: Request, sources: Opened) -> HTMLResponse:
    return page(
        request, "projects/form.html", project=None, sections=sections(sources, None),
        sharing_dir=sources.sharing_dir,
    )  # fmt: skip


@pages.get("/projects/{project}", dependencies=[needs("read")])
def show_project(
    request: Request,
    sources: Opened,
    project: ProjectKey,
    against: str = "images",
    compared: str = "",
    until: int | None = None,
) -> HTMLResponse:
    found = sources.catalog.projects.find(project) if sources.catalog else None
    if found is None:
        return _without_rounds(request, sources, project)
    values = project_page(request, sources, found, against, compared, until)
    return page(request, "projects/show.html", **values)


@pages.get("/projects/{project}/edit", dependencies=[needs("edit")])
def show_project_form(request: Request, sources: Opened, project: ProjectKey) -> HTMLResponse:
    found = sources.workspace.catalog.projects.get(project)
    return page(
        request, "projects/form.html", project=found, sections=sections(sources, found.spec),
        sharing_dir=sources.sharing_dir,
    )  # fmt: skip


def _without_rounds(request: Request, sources: Sources, project: str) -> HTMLResponse:
    """Versions that name a project which this catalog does not have."""
    tips = sources.tips(project)
    if not tips:
        if sources.catalog is not None:
            sources.catalog.projects.get(project)  # says what became of it
        raise NotFoundError(f"No project named `{project}`", code="no-such-project")
    return page(request, "projects/versions.html", key=project, tips=tips)


def _broken(request: Request, sources: Sources) -> dict[str, InvalidInputError]:
    """Projects whose files this version does not take, by key."""
    found = sources.catalog.projects.invalid() if sources.catalog else {}
    return {key: error for key, error in found.items() if may(request, "read", key)}


def _readable(request: Request, sources: Sources, *, deleted: bool = False) -> list[views.Standing]:
    if sources.catalog is None:
        return []
    found = sources.catalog.projects.list(deleted=deleted)
    seen = [project for project in found if may(request, "read", project.key)]
    return views.standings(sources.catalog, seen)
