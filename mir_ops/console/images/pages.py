"""One image of a version, its bytes, and the addresses that label tools are given."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from mir_ops.console.access import BY_SIGNATURE, ProjectKey, needs
from mir_ops.console.frame import Opened, page
from mir_ops.console.images import files, views
from mir_ops.console.images.selecting import FromQuery
from mir_ops.labeling.addresses import read_hook_token, read_image_token

pages = APIRouter()
_image = APIRouter(prefix="/projects/{project}/versions/{commit}/images/{asset_id}")


@_image.get("", dependencies=[needs("read")])
def show_image(
    request: Request,
    sources: Opened,
    project: ProjectKey,
    commit: str,
    asset_id: str,
    selection: FromQuery,
) -> HTMLResponse:
    version = sources.version(project, commit)
    sources.asset(version, asset_id)
    shown = views.image_page(project, version, asset_id, selection)
    return page(request, "images/show.html", **shown)


@_image.get("/bytes", dependencies=[needs("read")])
def send_bytes(
    request: Request, sources: Opened, project: ProjectKey, commit: str, asset_id: str
) -> Response:
    asset = sources.asset(sources.version(project, commit), asset_id)
    return files.original(request, sources.store, asset)


@_image.get("/thumbnail", dependencies=[needs("read")])
def send_thumbnail(
    request: Request, sources: Opened, project: ProjectKey, commit: str, asset_id: str
) -> Response:
    asset = sources.asset(sources.version(project, commit), asset_id)
    return files.thumbnail(request, sources.store, asset)


@pages.get("/signed/{token}", dependencies=[BY_SIGNATURE])
def send_signed_image(request: Request, sources: Opened, token: str) -> Response:
    shown = read_image_token(sources.image_secret, token)
    asset = sources.asset(sources.version(shown.project, shown.commit), shown.asset)
    answer = files.original(request, sources.store, asset)
    # Whoever has the address may draw the image, on a page of any origin.
    answer.headers["Access-Control-Allow-Origin"] = "*"
    answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return answer


@pages.post("/hooks/{token}", status_code=204, dependencies=[BY_SIGNATURE])
def wake(sources: Opened, token: str) -> None:
    """Something was labelled: whoever waits asks the label tool now. What is sent is not read."""
    sources.note_activity(read_hook_token(sources.image_secret, token))


pages.include_router(_image)
