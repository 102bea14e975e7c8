"""From a DAG run's page in Airflow to the round that it is."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import URL

from mir_ops.catalog import Catalog, Project
from mir_ops.catalog.values import PROJECT_DAG
from mir_ops.console.access import may, needs
from mir_ops.console.frame import Opened, page, way_up

pages = APIRouter()


@pages.get("/runs/{dag_id}/{run_id:path}", dependencies=[needs("read")], response_model=None)
def show_round_of_run(request: Request, sources: Opened, dag_id: str, run_id: str) -> Response:
    """To the round. Airflow shows the tab on every run: one that is no round has a page, too."""
    workspace = sources.workspace
    found = workspace.catalog.rounds.find_run(workspace.deployment, run_id, dag_id)
    if found is None:
        return page(
            request,
            "rounds/none.html",
            404,
            dag_id=dag_id[:250],
            run_id=run_id[:250],
            project=_project_of(request, workspace.catalog, dag_id),
        )
    if not may(request, "read", found.project_key):
        raise HTTPException(403, f"You may not read project `{found.project_key}`")
    there = URL(f"{way_up(request)}projects/{found.project_key}/rounds/{found.number}")
    return RedirectResponse(there, 303)


def _project_of(request: Request, catalog: Catalog, dag_id: str) -> Project | None:
    """Whose rounds are runs of this DAG, if the reader may know."""
    key = dag_id.removeprefix(PROJECT_DAG)
    found = catalog.projects.find(key) if key != dag_id else None
    return found if found is not None and may(request, "read", found.key) else None
