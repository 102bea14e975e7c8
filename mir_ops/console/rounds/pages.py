"""A project's rounds: all of them beside each other, one, two compared, and the next."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from mir_ops.catalog import Project
from mir_ops.console.access import ProjectKey, needs
from mir_ops.console.frame import Opened, page
from mir_ops.console.headers import REPORT_POLICY
from mir_ops.console.projects.views import standing
from mir_ops.console.rounds import charts, comparing, detail, starting
from mir_ops.console.rounds.views import find_round, project_view
from mir_ops.console.runs import runs_of
from mir_ops.console.sources import Sources

pages = APIRouter(prefix="/projects/{project}/rounds")

Page = Annotated[int, Query(ge=1, le=10**7)]


@pages.get("/new", dependencies=[needs("edit")])
def show_start(
    request: Request, sources: Opened, project: ProjectKey, as_project: bool = False
) -> HTMLResponse:
    found = sources.workspace.catalog.projects.get(project)
    values = starting.start_page(sources, found, as_project=as_project)
    return page(request, "rounds/new.html", **values)


@pages.get("/compare", dependencies=[needs("read")])
def show_comparison(
    request: Request, sources: Opened, project: ProjectKey, first: int, second: int
) -> HTMLResponse:
    found = sources.workspace.catalog.projects.get(project)
    values = comparing.compare_page(sources, found, first, second)
    return page(request, "rounds/compare.html", **values)


@pages.get("/{number}", dependencies=[needs("read")])
def show_round(
    request: Request,
    sources: Opened,
    project: ProjectKey,
    number: int,
    shown: Annotated[int, Query(alias="page", ge=1, le=10**7)] = 1,
) -> HTMLResponse:
    found = find_round(sources.workspace.catalog, project, number)
    runs = runs_of(request)
    values = detail.round_page(sources, found, shown)
    return page(
        request,
        "rounds/show.html",
        approvals=starting.approvals(runs, found.view),
        task=detail.task_addresses(runs, found.view),
        **values,
    )


@pages.get("/{number}/gates/{stage}", dependencies=[needs("read")])
def show_gate_report(sources: Opened, project: ProjectKey, number: int, stage: str) -> HTMLResponse:
    headers = {"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(sources.gate_report(project, number, stage), headers=headers)


def project_page(
    request: Request,
    sources: Sources,
    project: Project,
    against: str,
    compared: str,
    until: int | None,
) -> dict[str, Any]:
    """What the page of a project's rounds is given."""
    catalog = sources.workspace.catalog
    lines = catalog.overviews.rounds(project.id)
    seen = project_view(catalog, sources.store, project, lines)
    axes, yields = charts.axes(), charts.yields(seen.rounds)
    against = against if against in axes else "images"
    compared = compared if compared in yields else next(iter(yields), "")
    runs = runs_of(request)
    return {
        "project": seen,
        "key": seen.key,
        "standing": standing(project, lines),
        "rounds": list(reversed(seen.rounds)),
        "axes": axes,
        "against": against,
        "chart": charts.progress_chart(seen.rounds, against),
        "verdict": charts.verdict(seen.rounds),
        "yields": yields,
        "compared": compared,
        "control": charts.control_chart(seen.rounds, compared) if compared else None,
        "sizes": comparing.side_by_side(sources.store, seen.rounds, until),
        "approvals": starting.approvals(runs, seen.open_round),
        "commands": starting.commands(project, seen.open_round.number if seen.open_round else None),
    }
