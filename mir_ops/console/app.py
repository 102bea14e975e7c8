"""The console: one FastAPI app, the same alone on loopback and inside Airflow.

Nothing here knows who is asking. Whoever mounts the app says with `may` which projects a request
can read, edit or delete; `mir view` lets the person at the machine see everything, and change
nothing. Pages only read; what changes projects is the JSON API below them. Two routes are for label
tools, which have no login: an image at a signed address, and a hook that only wakes who waits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles

from mir_ops.console import images, pages
from mir_ops.console.api import PREFIX, Action, May, create_api
from mir_ops.console.gallery import Selection
from mir_ops.console.headers import REPORT_POLICY, SafeHeaders
from mir_ops.console.rendering import render
from mir_ops.console.sources import Sources
from mir_ops.errors import InvalidInputError, MirError, NotFoundError
from mir_ops.labeling.addresses import read_hook_token, read_image_token

OpenSources = Callable[[], Sources]

_STATIC = Path(__file__).parent / "static"


def read_only(_request: Request, action: Action, _project: str | None) -> bool:
    """For loopback only: whoever reaches the server can read its files anyway."""
    return action == "read"


def create_app(open_sources: OpenSources, *, may: May = read_only) -> FastAPI:
    """The app. `open_sources` is called for each request, from a worker thread."""
    app = FastAPI(
        title="mir console",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.open_sources = open_sources
    app.state.may = may
    app.include_router(_top)
    app.include_router(_signed)
    app.include_router(_project, prefix="/projects/{project}")
    app.mount(PREFIX, create_api(open_sources, may))
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    app.add_exception_handler(MirError, _show_error)
    app.add_exception_handler(StarletteHTTPException, _show_http_error)
    app.add_middleware(SafeHeaders)
    return app


def _sources(request: Request) -> Sources:
    sources = request.app.state.open_sources()
    assert isinstance(sources, Sources)
    return sources


def _readable(request: Request, project: str) -> None:
    # The guard in front asks the same; here the name is the one that the route really uses.
    if not request.app.state.may(request, "read", project):
        raise HTTPException(403, f"You may not read project `{project}`")


def _selection(
    layer: Annotated[list[str] | None, Query()] = None,
    class_id: Annotated[str, Query(alias="class")] = "",
    split: Annotated[str, Query()] = "",
    confidence: Annotated[str, Query()] = "",
    picked: Annotated[str, Query()] = "",
    page: Annotated[str, Query()] = "",
) -> Selection:
    # An empty `layer` says that a person chose; without any the version's own are drawn.
    try:
        return Selection(
            layers=tuple(layer) if layer is not None else None,
            class_id=int(class_id) if class_id else None,
            split=split or None,
            confidence=min(1.0, max(0.0, float(confidence or 0.25))),
            picked=picked == "1",
            page=int(page or 1),
        )
    except ValueError:
        raise InvalidInputError("A filter in the address is not a number") from None


FromSources = Annotated[Sources, Depends(_sources)]
FromQuery = Annotated[Selection, Depends(_selection)]
_top = APIRouter()
_signed = APIRouter()
_project = APIRouter(dependencies=[Depends(_readable)])


@_top.get("/")
def show_projects(request: Request, sources: FromSources) -> HTMLResponse:
    may = request.app.state.may
    projects = [entry for entry in sources.projects() if may(request, "read", entry.key)]
    return _page(request, "projects.html", pages.projects_page(sources, projects))


@_project.get("")
def show_rounds(request: Request, sources: FromSources, project: str) -> HTMLResponse:
    return _page(request, "rounds.html", pages.rounds_page(sources, project))


@_project.get("/rounds/{number}/gates/{stage}")
def show_gate_report(sources: FromSources, project: str, number: int, stage: str) -> HTMLResponse:
    headers = {"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(sources.gate_report(project, number, stage), headers=headers)


@_project.get("/versions/{commit}")
def show_version(
    request: Request, sources: FromSources, project: str, commit: str, selection: FromQuery
) -> HTMLResponse:
    version = sources.version(project, commit)
    return _page(request, "version.html", pages.version_page(sources, project, version, selection))


@_project.get("/versions/{commit}/images/{asset_id}")
def show_image(
    request: Request,
    sources: FromSources,
    project: str,
    commit: str,
    asset_id: str,
    selection: FromQuery,
) -> HTMLResponse:
    version = sources.version(project, commit)
    sources.asset(version, asset_id)
    return _page(request, "image.html", pages.image_page(project, version, asset_id, selection))


@_project.get("/versions/{commit}/images/{asset_id}/bytes")
def send_bytes(
    request: Request, sources: FromSources, project: str, commit: str, asset_id: str
) -> Response:
    asset = sources.asset(sources.version(project, commit), asset_id)
    return images.original(request, sources.store, asset)


@_project.get("/versions/{commit}/images/{asset_id}/thumbnail")
def send_thumbnail(
    request: Request, sources: FromSources, project: str, commit: str, asset_id: str
) -> Response:
    asset = sources.asset(sources.version(project, commit), asset_id)
    return images.thumbnail(request, sources.store, asset)


@_signed.get("/signed/{token}")
def send_signed_image(request: Request, sources: FromSources, token: str) -> Response:
    shown = read_image_token(sources.image_secret, token)
    asset = sources.asset(sources.version(shown.project, shown.commit), shown.asset)
    answer = images.original(request, sources.store, asset)
    # Whoever has the address may draw the image, on a page of any origin.
    answer.headers["Access-Control-Allow-Origin"] = "*"
    answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return answer


@_signed.post("/hooks/{token}", status_code=204)
def wake(sources: FromSources, token: str) -> None:
    """Something was labelled: whoever waits asks the label tool now. What is sent is not read."""
    sources.note_activity(read_hook_token(sources.image_secret, token))


def _page(
    request: Request, template: str, values: dict[str, Any], status: int = 200
) -> HTMLResponse:
    html = render(template, root=_way_up(request), **values)
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})


def _way_up(request: Request) -> str:
    """From this page to the console's first one, as a relative address.

    Relative, because the same page is served alone, under a prefix inside Airflow, and behind
    proxies that drop a part of the path.
    """
    path, mount = request.scope["path"], request.scope.get("root_path", "")
    inside = path[len(mount) :] if mount and path.startswith(mount + "/") else path
    return "../" * (inside.count("/") - 1) or "./"


def _show_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MirError)
    status = next((number for kind, number in _STATUS if isinstance(error, kind)), 503)
    values = {"status": status, "message": str(error), "hint": error.hint}
    return _page(request, "error.html", values, status)


def _show_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    message = "There is no such page" if error.status_code == 404 else error.detail
    values = {"status": error.status_code, "message": message, "hint": None}
    return _page(request, "error.html", values, error.status_code)


_STATUS: tuple[tuple[type[MirError], int], ...] = ((NotFoundError, 404), (InvalidInputError, 400))
