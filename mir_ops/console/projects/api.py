"""Projects by the JSON API: created, edited, renamed, deleted and restored.

Bodies are a project's file as JSON; what is checked is what `mir project` checks. A caller who is
not the shell's user names paths in the sharing folder only, and executors that are known.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel

from mir_ops.catalog import Project, ProjectSpec, create_project, edit_project
from mir_ops.console.access import ProjectKey, may, needs
from mir_ops.console.frame import Kept, Opened, OwnStore, Sent
from mir_ops.console.projects.vetting import vet_project
from mir_ops.console.projects.views import Standing, standings
from mir_ops.errors import InvalidInputError
from mir_ops.rounds.beginning import begin_training

api = APIRouter()


class ProjectAnswer(BaseModel):
    """A project. Its branches, DAG and address go by `key`, whatever it is called now."""

    key: str
    name: str
    dag_id: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    spec: ProjectSpec


class ProjectList(BaseModel):
    projects: list[ProjectAnswer]


class StandingList(BaseModel):
    projects: list[Standing]


class NewName(BaseModel):
    """What a project is to be called."""

    name: str


def _json_body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_SPEC: Final = _json_body({"$ref": "#/components/schemas/ProjectSpec"})
_SOME_KEYS: Final = _json_body(
    {"type": "object", "description": "Keys of ProjectSpec; null is a key's default"}
)
_NEW_NAME: Final = _json_body(NewName.model_json_schema())


@api.get("/projects", dependencies=[needs("read")])
def list_projects(request: Request, catalog: Kept, deleted: bool = False) -> ProjectList:
    """Projects that you may read: those that live, or those that were deleted."""
    found = catalog.projects.list(deleted=deleted)
    return ProjectList(projects=[_answer(one) for one in found if may(request, "read", one.key)])


@api.get("/standings", dependencies=[needs("read")])
def list_standings(request: Request, catalog: Kept, deleted: bool = False) -> StandingList:
    """Where each project that you may read stands: its targets, its newest round."""
    found = catalog.projects.list(deleted=deleted)
    seen = [one for one in found if may(request, "read", one.key)]
    return StandingList(projects=standings(catalog, seen))


@api.get("/projects/{project}", dependencies=[needs("read")])
def show_project(catalog: Kept, project: ProjectKey) -> ProjectAnswer:
    """One project, by its name or its key."""
    return _answer(catalog.projects.get(project))


@api.post("/projects", status_code=201, dependencies=[needs("edit")], openapi_extra=_SPEC)
def add_project(
    request: Request, sources: Opened, store: OwnStore, catalog: Kept, sent: Sent
) -> ProjectAnswer:
    """Create a project. Relative paths are in the sharing folder."""
    made = create_project(
        catalog,
        sent,
        folder=sources.sharing_dir,
        vet=lambda before, after: vet_project(
            before, after, sharing_dir=sources.sharing_dir, publishes=may(request, "publish")
        ),
    )
    begin_training(store, made.key)
    return _answer(made)


@api.patch("/projects/{project}", dependencies=[needs("edit")], openapi_extra=_SOME_KEYS)
def change_project(
    request: Request, sources: Opened, catalog: Kept, project: ProjectKey, sent: Sent
) -> ProjectAnswer:
    """Change some keys of a project, others stay; null is the default (JSON merge patch)."""
    made = edit_project(
        catalog,
        catalog.projects.get(project).key,
        sent,
        folder=sources.sharing_dir,
        vet=lambda before, after: vet_project(
            before, after, sharing_dir=sources.sharing_dir, publishes=may(request, "publish")
        ),
    )
    return _answer(made)


@api.post("/projects/{project}/rename", dependencies=[needs("edit")], openapi_extra=_NEW_NAME)
def rename_project(catalog: Kept, project: ProjectKey, sent: Sent) -> ProjectAnswer:
    """Call it otherwise; its key, branches, rounds and DAG stay."""
    name = sent.get("name")
    if set(sent) != {"name"} or not isinstance(name, str):
        raise InvalidInputError(
            'A new name is sent as `{"name": "…"}`, and nothing else', code="invalid-name"
        )
    return _answer(catalog.projects.rename(catalog.projects.get(project).key, name))


@api.delete("/projects/{project}", dependencies=[needs("delete")])
def delete_project(catalog: Kept, project: ProjectKey) -> ProjectAnswer:
    """Delete a project without an open round. All its data is kept."""
    return _answer(catalog.projects.delete(project))


@api.post("/projects/{project}/restore", dependencies=[needs("delete")])
def restore_project(catalog: Kept, project: ProjectKey) -> ProjectAnswer:
    """Bring a deleted project back, as it was."""
    return _answer(catalog.projects.restore(project))


def _answer(project: Project) -> ProjectAnswer:
    return ProjectAnswer(
        key=project.key,
        name=project.name,
        dag_id=project.dag_id,
        created_at=project.created_at,
        updated_at=project.updated_at,
        deleted_at=project.deleted_at,
        spec=project.spec,
    )
