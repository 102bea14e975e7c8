"""The console inside Airflow: who is asking is settled before any of its code runs.

Airflow mounts the app of a plugin without any authentication. The guard stands in front of all of
it, static files and pages that do not exist included: nobody gets 401, or is led to the login when
opening a page in a browser, and somebody without the right to read the project's DAG gets 403.
Everything else it leaves to Airflow's auth manager: who may edit a project's DAG may edit the
project, who may edit connections operates (executor images, labels), who is an admin besides may
publish and delete.
Label tools have no login: `signed/<token>` and `hooks/<token>` go by a signature of ours instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.utils.session import create_session
from fastapi import HTTPException, Request
from fastapi.security import HTTPBearer
from sqlalchemy import or_, select
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mir_airflow.links import base_url
from mir_airflow.runs import keep_server, open_runs
from mir_ops.catalog.values import PROJECT_DAG
from mir_ops.console.access import HARMLESS, Action, is_same_origin
from mir_ops.console.api import PREFIX
from mir_ops.console.app import create_app
from mir_ops.console.health.examining import examine_workspace
from mir_ops.console.sources import Sources
from mir_ops.doctor import Finding
from mir_ops.errors import MirError, StoreError
from mir_ops.workspace import Workspace

URL_PREFIX: Final = "/mir"
ROUND_DAG: Final = "active_learning_round"

# What an action takes of the project's DAG.
_METHODS: Final[dict[Action, ResourceMethod]] = {
    "read": "GET",
    "edit": "PUT",
    "operate": "GET",
    "publish": "PUT",
    "delete": "DELETE",
}
_bearer = HTTPBearer(auto_error=False)


def fastapi_apps() -> list[dict[str, Any]]:
    """For `AirflowPlugin.fastapi_apps`."""
    return [{"app": build_app(), "url_prefix": URL_PREFIX, "name": "mir console"}]


def external_views() -> list[dict[str, Any]]:
    """For `AirflowPlugin.external_views`; no leading slash, as a base URL may have a path."""
    return [
        {
            "name": "Datasets",
            "href": f"{URL_PREFIX.lstrip('/')}/",
            "destination": "nav",
            "url_route": "mir",
            "nav_top_level": True,
        },
        {
            "name": "Round",
            "href": f"{URL_PREFIX.lstrip('/')}/runs/{{DAG_ID}}/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "mir-round",
        },
    ]


def build_app() -> ASGIApp:
    return Guard(create_app(_open_sources, may=_may_act, open_runs=open_runs, examine=_examine))


class Guard:
    """Lets a request in only when its user is known and may read what the address names."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            keep_server(request)
            refusal = None if _goes_by_signature(request) else await _refusal(request)
            await (refusal or self.app)(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})


async def _refusal(request: Request) -> Response | None:
    credentials = await _bearer(request)
    try:
        user = await get_user(request, None, credentials)
    except HTTPException as error:
        # Airflow answers 403 to a token that is not valid; to us that is nobody.
        return _lead_to_login(request) or _refuse(401, str(error.detail))
    if request.method not in HARMLESS and credentials is None and not is_same_origin(request):
        return _refuse(403, "A request that changes something must come from this site")
    request.state.mir_user = user
    request.state.mir_author = user.get_name()
    project = _project_of(request)
    if await run_in_threadpool(_may, user, project):
        return None
    dags = " or ".join(f"`{name}`" for name in _dag_ids(project)) if project else f"`{ROUND_DAG}`"
    return _refuse(403, f"This page takes the right to read the DAG {dags}")


def _lead_to_login(request: Request) -> RedirectResponse | None:
    """Of somebody who opens a page in a browser, as from a mail; not of what a page loads."""
    if (
        request.method != "GET"
        or "text/html" not in request.headers.get("accept", "")
        or request.headers.get("sec-fetch-dest", "document") != "document"
    ):
        return None
    wanted = f"{request.url.path}?{request.url.query}".removesuffix("?")
    login = f"{base_url()}/api/v2/auth/login?{urlencode({'next': wanted})}"
    return RedirectResponse(login, 303, {"Cache-Control": "no-store"})


def _refuse(status: int, text: str) -> PlainTextResponse:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return PlainTextResponse(text, status, headers)


def _goes_by_signature(request: Request) -> bool:
    """Whether the path is exactly that of a route that asks for no login."""
    parts = _parts(request)
    if len(parts) != 3 or not parts[2]:
        return False
    allowed = {"signed": ("GET", "HEAD"), "hooks": ("POST",)}
    return request.method in allowed.get(parts[1], ())


def _parts(request: Request) -> list[str]:
    path, mount = request.scope["path"], request.scope.get("root_path", "")
    inside: str = path[len(mount) :] if mount and path.startswith(mount + "/") else path
    return inside.split("/")


def _project_of(request: Request) -> str | None:
    parts = _parts(request)
    above = [*PREFIX.split("/"), "projects"]
    above = above if parts[: len(above)] == above else ["", "projects"]
    named = parts[len(above) : len(above) + 1] if parts[: len(above)] == above else []
    return named[0] if named and named[0] else None


def _may_act(request: Request, action: Action, project: str | None) -> bool:
    """What a route takes, with the project's key; `None` where none is named or exists yet."""
    user = request.state.mir_user
    if action in ("publish", "delete") and not _is_admin(user):
        return False
    if action == "operate" and not get_auth_manager().is_authorized_connection(
        method="PUT", user=user
    ):
        return False
    return _allows(user, _dags_for(request, project), project, _METHODS[action])


def _dags_for(request: Request, project: str | None) -> dict[str, str | None]:
    """A page of many projects asks for each by its key: their DAGs are read once."""
    known: dict[str, str | None] | None = getattr(request.state, "mir_dags", None)
    if known is None:
        known = request.state.mir_dags = _known_dags(None)
    wanted = known if project is None else _dag_ids(project)
    return {name: known[name] for name in wanted if name in known}


def _may(user: BaseUser, project: str | None, method: ResourceMethod = "GET") -> bool:
    """The same with a project's name or its key."""
    if _allows(user, _known_dags(project), project, method):
        return True
    key = _key_of(project) if project else None
    return key not in (None, project) and _may(user, key, method)


def _allows(
    user: BaseUser, dags: dict[str, str | None], project: str | None, method: ResourceMethod
) -> bool:
    """Of a project: its DAG, or the one that runs rounds of any project.

    Of none: to read, one such DAG; to do more, the one that runs rounds of any project.
    """
    if project is None and method != "GET":
        dags = {name: team for name, team in dags.items() if name == ROUND_DAG}
    return any(_may_dag(user, name, team, method) for name, team in dags.items())


def _key_of(name: str) -> str | None:
    """Of a renamed project: its DAG goes by the key."""
    try:
        catalog = _open_sources().catalog
        found = catalog.projects.find(name, deleted=True) if catalog else None
    except MirError:
        return None  # whoever answers the request says what is wrong
    return found.key if found else None


def _may_dag(user: BaseUser, dag_id: str, team: str | None, method: ResourceMethod) -> bool:
    details = DagDetails(id=dag_id, team_name=team)
    try:
        return bool(get_auth_manager().is_authorized_dag(method=method, details=details, user=user))
    except KeyError:  # the simple auth manager's answer to a role that it does not know
        return False


def _is_admin(user: BaseUser) -> bool:
    """Airflow has no question for this: a role's name says it, in its simple and FAB managers.

    A manager whose users have no roles is asked for the right to delete connections.
    """
    roles = [getattr(user, "role", None), *(getattr(user, "roles", None) or ())]
    names = [str(getattr(role, "name", role)).lower() for role in roles if role]
    if names or hasattr(user, "role") or hasattr(user, "roles"):
        return "admin" in names
    return bool(get_auth_manager().is_authorized_connection(method="DELETE", user=user))


def _dag_ids(project: str) -> tuple[str, str]:
    return f"{PROJECT_DAG}{project}", ROUND_DAG


def _known_dags(project: str | None) -> dict[str, str | None]:
    """Those of the DAGs that exist, with their team: an auth manager may say yes to any name."""
    if project is None:
        wanted = or_(
            DagModel.dag_id == ROUND_DAG, DagModel.dag_id.startswith(PROJECT_DAG, autoescape=True)
        )
    else:
        wanted = DagModel.dag_id.in_(_dag_ids(project))
    with create_session() as session:
        found: Iterable[str] = session.scalars(select(DagModel.dag_id).where(wanted)).all()
        teams = DagModel.get_dag_id_to_team_name_mapping(list(found), session=session)
    return {dag_id: teams.get(dag_id) for dag_id in found}


def _examine() -> list[Finding]:
    return examine_workspace(_open_workspace, label_tool=_label_tool())


def _label_tool() -> str | None:
    """Its address, where there is one: a stack without says `LABEL_TOOL=`."""
    from mir_airflow.hooks.mir import LabelsHook

    if os.environ.get("LABEL_TOOL") == "":
        return None

    try:
        return LabelsHook().options().get("url")
    except AirflowNotFoundException:
        return None


def _open_workspace() -> Workspace:
    from mir_airflow.hooks.mir import MirHook

    try:
        return MirHook().workspace()
    except AirflowNotFoundException as error:
        raise StoreError(
            str(error),
            code="no-connection",
            hint="Make a connection of type MIR workspace under Admin > Connections",
        ) from None


def _open_sources() -> Sources:
    return _sources_of(_open_workspace())


@lru_cache(maxsize=2)
def _sources_of(workspace: Workspace) -> Sources:
    sources = Sources(
        workspace.store,
        workspace.catalog,
        image_secret=workspace.image_secret,
        sharing_dir=workspace.sharing_dir,
    )
    sources.workspace = workspace
    return sources
