"""Rounds by the JSON API: read, compare, start, stop, approve."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from mir_ops.catalog import RoundConf
from mir_ops.console.access import ProjectKey, needs
from mir_ops.console.frame import Kept, Opened, Sent
from mir_ops.console.rounds import detail, starting
from mir_ops.console.rounds.views import RoundView, find_round, project_view
from mir_ops.console.runs import runs_of
from mir_ops.rounds.comparing import ComparedRounds, compare_rounds
from mir_ops.rounds.record import read_record
from mir_ops.rounds.sticky import next_round

api = APIRouter(prefix="/projects/{project}/rounds")

_CONF = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "allOf": [RoundConf.model_json_schema()],
                    "properties": {
                        "request": {
                            "type": "string",
                            "pattern": "^[0-9a-f]{8,64}$",
                            "description": "The same request starts one round, however often sent",
                        }
                    },
                }
            }
        },
    }
}


class RoundList(BaseModel):
    rounds: list[RoundView]


class NextRound(BaseModel):
    """What a run that says nothing would take: each parameter with the round that said so."""

    parameters: dict[str, dict[str, Any]]
    training: str | None
    model: str | None


class StartedRun(BaseModel):
    dag_id: str
    run_id: str
    url: str | None


class RoundState(BaseModel):
    number: int
    state: str


class Word(BaseModel):
    """One of the options of what is asked, such as `Approve` and `Reject`."""

    option: str


class Chosen(BaseModel):
    """Images by rank, with score, reason and what people did with them."""

    total: int
    images: list[dict[str, Any]]


@api.get("", dependencies=[needs("read")])
def list_rounds(sources: Opened, catalog: Kept, project: ProjectKey) -> RoundList:
    """All rounds of a project, oldest first."""
    found = catalog.projects.get(project)
    lines = catalog.overviews.rounds(found.id)
    return RoundList(rounds=list(project_view(catalog, sources.store, found, lines).rounds))


@api.get("/next", dependencies=[needs("read")])
def show_next_round(sources: Opened, catalog: Kept, project: ProjectKey) -> NextRound:
    """The next round's parameters, and what it starts from."""
    found = catalog.projects.get(project)
    return NextRound.model_validate(next_round(sources.workspace, found.key))


@api.get("/compare", dependencies=[needs("read")])
def show_compared_rounds(
    sources: Opened, catalog: Kept, project: ProjectKey, first: int, second: int
) -> ComparedRounds:
    """Two closed rounds side by side."""
    return compare_rounds(sources.workspace, catalog.projects.get(project).key, first, second)


@api.post("", status_code=202, dependencies=[needs("edit")], openapi_extra=_CONF)
def start_round(
    request: Request, sources: Opened, catalog: Kept, project: ProjectKey, sent: Sent
) -> StartedRun:
    """Start a round in Airflow, with the caller's rights there."""
    runs = runs_of(request)
    dag_id, run_id = starting.start(runs, sources, catalog.projects.get(project), sent)
    url = runs.run_address(dag_id, run_id) if runs else None
    return StartedRun(dag_id=dag_id, run_id=run_id, url=url)


@api.get("/{number}", dependencies=[needs("read")])
def show_one_round(
    sources: Opened, catalog: Kept, project: ProjectKey, number: int
) -> detail.RoundDetail:
    """One round: its steps, label tasks, gates and settings."""
    return detail.round_detail(sources, find_round(catalog, project, number))


@api.get("/{number}/chosen", dependencies=[needs("read")])
def list_chosen(
    sources: Opened,
    catalog: Kept,
    project: ProjectKey,
    number: int,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Chosen:
    """The images that the round chose, by rank."""
    found = detail.chosen(sources, find_round(catalog, project, number))
    return Chosen(total=len(found), images=[dict(each) for each in found[offset : offset + limit]])


@api.get("/{number}/record", dependencies=[needs("read")])
def show_record(sources: Opened, catalog: Kept, project: ProjectKey, number: int) -> dict[str, Any]:
    """The record of a closed round: everything that it took, did, cost and left."""
    return read_record(sources.workspace, find_round(catalog, project, number).line.record)


@api.post("/{number}/stop", dependencies=[needs("edit")])
def stop_round(request: Request, catalog: Kept, project: ProjectKey, number: int) -> RoundState:
    """End the run of an open round, and give the round up. A closed one stays as it is."""
    found = catalog.projects.get(project)
    return RoundState(number=number, state=starting.stop(runs_of(request), catalog, found, number))


@api.post("/{number}/answer", dependencies=[needs("publish")])
def answer_round(
    request: Request, catalog: Kept, project: ProjectKey, number: int, word: Word
) -> RoundState:
    """Answer what the round's run asks before its model is promoted."""
    starting.answer(runs_of(request), catalog, catalog.projects.get(project), number, word.option)
    return RoundState(number=number, state=find_round(catalog, project, number).view.state)
