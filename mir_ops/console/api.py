"""The console's JSON API, version 1: projects. Mounted below the console, behind the same guard.

Bodies are a project's file as JSON; what is checked is what `mir project` checks. A caller who is
not the shell's user names paths in the sharing folder only, and executors that are known.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from mir_ops.catalog import Catalog, Project, ProjectSpec, create_project, edit_project
from mir_ops.console.sources import Sources
from mir_ops.console.vetting import vet_project
from mir_ops.errors import ConflictError, InvalidInputError, MirError, NotFoundError, StoreError

Action = Literal["read", "edit", "delete"]
May = Callable[[Request, Action, str | None], bool]

PREFIX: Final = "/api/v1"
_LONGEST_BODY: Final = 256 << 10
_STATUS: Final = ((NotFoundError, 404), (ConflictError, 409), (InvalidInputError, 422))


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


class NewName(BaseModel):
    """What a project is to be called."""

    name: str


class Problem(BaseModel):
    """What went wrong; `code` is stable."""

    code: str
    message: str
    hint: str | None


class ErrorAnswer(BaseModel):
    error: Problem


def create_api(open_sources: Callable[[], Sources], may: May) -> FastAPI:
    """The app of the API; `may` is asked before anything is read or changed."""
    api = FastAPI(
        title="mir-ops",
        version="1",
        description="Projects of mir-ops, as JSON.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        responses={
            status: {"model": ErrorAnswer} for status in (400, 403, 404, 409, 413, 422, 503)
        },
    )
    api.state.open_sources, api.state.may = open_sources, may
    for path, method, call, status in _ROUTES:
        api.add_api_route(
            path,
            call,
            methods=[method],
            status_code=status,
            operation_id=call.__name__,
            openapi_extra=_BODIES.get(call.__name__),
        )
    api.add_exception_handler(MirError, _say_error)
    api.add_exception_handler(StarletteHTTPException, _say_http_error)
    api.add_exception_handler(RequestValidationError, _say_wrong_query)
    return api


def _sources(request: Request) -> Sources:
    sources = request.app.state.open_sources()
    assert isinstance(sources, Sources)
    return sources


def _catalog(sources: Annotated[Sources, Depends(_sources)]) -> Catalog:
    if sources.catalog is None:
        raise StoreError("There is no catalog here", code="no-catalog")
    return sources.catalog


async def _body(request: Request) -> dict[str, Any]:
    """The mapping that was sent: bounded, and JSON by its own word."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "Send JSON, as `Content-Type: application/json`")
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _LONGEST_BODY:
            raise HTTPException(413, f"A body has {_LONGEST_BODY >> 10} kB at most")
    try:
        mapping = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"The body is not JSON: {error}") from None
    if not isinstance(mapping, dict):
        raise HTTPException(400, "The body is no mapping of keys to values")
    return mapping


Kept = Annotated[Catalog, Depends(_catalog)]
Opened = Annotated[Sources, Depends(_sources)]
Sent = Annotated[dict[str, Any], Depends(_body)]


def list_projects(request: Request, catalog: Kept, deleted: bool = False) -> ProjectList:
    """Projects that you may read: those that live, or those that were deleted."""
    found = catalog.projects.list(deleted=deleted)
    may = request.app.state.may
    return ProjectList(projects=[_answer(one) for one in found if may(request, "read", one.key)])


def show_project(request: Request, catalog: Kept, project: str) -> ProjectAnswer:
    """One project, by its name or its key."""
    return _answer(_find(request, catalog, project, "read"))


def add_project(request: Request, sources: Opened, catalog: Kept, sent: Sent) -> ProjectAnswer:
    """Create a project. Relative paths are in the sharing folder."""
    _require(request, "edit", None)
    made = create_project(
        catalog,
        sent,
        folder=sources.sharing_dir,
        vet=lambda before, after: vet_project(
            before, after, sharing_dir=sources.sharing_dir, publishes=_publishes(request, None)
        ),
    )
    return _answer(made)


def change_project(
    request: Request, sources: Opened, catalog: Kept, project: str, sent: Sent
) -> ProjectAnswer:
    """Change some keys of a project, others stay; null is the default (JSON merge patch)."""
    found = _find(request, catalog, project, "edit")
    made = edit_project(
        catalog,
        found.key,
        sent,
        folder=sources.sharing_dir,
        vet=lambda before, after: vet_project(
            before,
            after,
            sharing_dir=sources.sharing_dir,
            publishes=_publishes(request, found.key),
        ),
    )
    return _answer(made)


def rename_project(request: Request, catalog: Kept, project: str, sent: Sent) -> ProjectAnswer:
    """Call it otherwise; its key, branches, rounds and DAG stay."""
    found = _find(request, catalog, project, "edit")
    name = sent.get("name")
    if set(sent) != {"name"} or not isinstance(name, str):
        raise InvalidInputError(
            'A new name is sent as `{"name": "…"}`, and nothing else', code="invalid-name"
        )
    return _answer(catalog.projects.rename(found.key, name))


def delete_project(request: Request, catalog: Kept, project: str) -> ProjectAnswer:
    """Delete a project without an open round. All its data is kept."""
    found = _find(request, catalog, project, "delete", deleted=True)
    return _answer(catalog.projects.delete(found.key))


def restore_project(request: Request, catalog: Kept, project: str) -> ProjectAnswer:
    """Bring a deleted project back, as it was."""
    found = _find(request, catalog, project, "delete", deleted=True)
    return _answer(catalog.projects.restore(found.key))


_ROUTES: Final = (
    ("/projects", "GET", list_projects, 200),
    ("/projects", "POST", add_project, 201),
    ("/projects/{project}", "GET", show_project, 200),
    ("/projects/{project}", "PATCH", change_project, 200),
    ("/projects/{project}", "DELETE", delete_project, 200),
    ("/projects/{project}/rename", "POST", rename_project, 200),
    ("/projects/{project}/restore", "POST", restore_project, 200),
)


def _json_body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_BODIES: Final = {
    "add_project": _json_body({"$ref": "#/components/schemas/ProjectSpec"}),
    "change_project": _json_body(
        {"type": "object", "description": "Keys of ProjectSpec; null is a key's default"}
    ),
    "rename_project": _json_body(NewName.model_json_schema()),
}


def _find(
    request: Request, catalog: Catalog, name: str, action: Action, *, deleted: bool = False
) -> Project:
    """The project, once it is sure that this caller may: what else there is stays unsaid."""
    found = catalog.projects.find(name, deleted=True)
    _require(request, action, found.key if found else name)
    return found if found and (deleted or not found.deleted_at) else catalog.projects.get(name)


def _require(request: Request, action: Action, project: str | None) -> None:
    if not request.app.state.may(request, action, project):
        what = f"project `{project}`" if project else "projects"
        raise HTTPException(403, f"You may not {action} {what}")


def _publishes(request: Request, project: str | None) -> bool:
    return bool(request.app.state.may(request, "delete", project))


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


def _refuse_constant(name: str) -> None:
    raise ValueError(f"`{name}` is no number of JSON")


def _say_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, MirError)
    status = next((number for kind, number in _STATUS if isinstance(error, kind)), 503)
    return _problem(status, error.code, str(error), error.hint)


def _say_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    message = "There is no such route" if error.status_code == 404 else str(error.detail)
    return _problem(error.status_code, f"http-{error.status_code}", message, None)


def _say_wrong_query(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(f"`{entry['loc'][-1]}`: {entry['msg']}" for entry in error.errors())
    return _problem(422, "invalid-parameter", f"Invalid request: {wrong}", None)


def _problem(status: int, code: str, message: str, hint: str | None) -> JSONResponse:
    said = ErrorAnswer(error=Problem(code=code, message=message, hint=hint))
    return JSONResponse(said.model_dump(), status, headers={"Cache-Control": "no-store"})
