"""From a DAG run's page in Airflow to the round that it is."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse
from starlette.datastructures import URL

from mir_ops.console.access import may, needs
from mir_ops.console.frame import Opened, way_up
from mir_ops.errors import NotFoundError

pages = APIRouter()


@pages.get("/runs/{dag_id}/{run_id:path}", dependencies=[needs("read")])
def show_round_of_run(
    request: Request, sources: Opened, dag_id: str, run_id: str
) -> RedirectResponse:
    workspace = sources.workspace
    found = workspace.catalog.rounds.find_run(workspace.deployment, run_id, dag_id)
    if found is None:
        raise NotFoundError(
            f"Run `{run_id[:250]}` of `{dag_id[:250]}` has opened no round",
            code="no-such-round",
            hint="Rounds are runs of `active_learning_round`, and of a project's own DAG",
        )
    if not may(request, "read", found.project_key):
        raise HTTPException(403, f"You may not read project `{found.project_key}`")
    there = URL(f"{way_up(request)}projects/{found.project_key}/rounds/{found.number}")
    return RedirectResponse(there, 303)
