"""The images of a version, one image, its bytes, and the addresses that label tools are given."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from mir_ops.console.access import BY_SIGNATURE, ProjectKey, needs
from mir_ops.console.frame import Opened, page
from mir_ops.console.images import files, views
from mir_ops.console.images.gallery import Shape
from mir_ops.console.images.masks import draw_masks
from mir_ops.console.images.objects import read_annotations
from mir_ops.console.images.selecting import FromQuery, Selection
from mir_ops.labeling.addresses import read_hook_token, read_image_token

pages = APIRouter()
_images = APIRouter(prefix="/projects/{project}/versions/{commit}/images")


@_images.get("", dependencies=[needs("read")])
def show_images(
    request: Request,
    sources: Opened,
    project: ProjectKey,
    commit: str,
    selection: FromQuery,
    only: str = "",
) -> HTMLResponse:
    """The grid; `only=tiles` is one page of it and nothing around it, `only=tags` what tags are."""
    version = sources.version(project, commit)
    if only == "tags":
        return page(request, "images/tags.html", **views.tags(sources, version, selection))
    if only == "tiles":
        shown = views.tiles(sources, project, version, selection)
        return page(request, "images/tiles.html", **shown)
    shown = views.grid_page(sources, project, version, selection)
    return page(request, "images/grid.html", **shown)


@_images.get("/{asset_id}", dependencies=[needs("read")])
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
    shown = views.image_page(sources, project, version, asset_id, selection)
    return page(request, "images/show.html", **shown)


@_images.get("/{asset_id}/bytes", dependencies=[needs("read")])
def send_bytes(
    request: Request, sources: Opened, project: ProjectKey, commit: str, asset_id: str
) -> Response:
    asset = sources.asset(sources.version(project, commit), asset_id)
    return files.original(request, sources.store, asset)


@_images.get("/{asset_id}/thumbnail", dependencies=[needs("read")])
def send_thumbnail(
    request: Request, sources: Opened, project: ProjectKey, commit: str, asset_id: str
) -> Response:
    asset = sources.asset(sources.version(project, commit), asset_id)
    return files.thumbnail(request, sources.store, asset)


@_images.get("/{asset_id}/masks", dependencies=[needs("read")])
def send_masks(
    request: Request,
    sources: Opened,
    project: ProjectKey,
    commit: str,
    asset_id: str,
    selection: FromQuery,
) -> Response:
    version = sources.version(project, commit)
    asset = sources.asset(version, asset_id)
    if asset.width * asset.height > files.MOST_PIXELS:
        raise HTTPException(415, "The image is too large for its masks to be drawn")
    layers = views.with_layers(version, selection).layers or ()
    wanted = (asset_id, version.id, layers, selection.class_id, selection.confidence)

    def draw() -> bytes:
        found = read_annotations(sources.lookup(asset_id), version, layers)
        shown = [one for one in found if _shows(one.shape, selection)]
        return draw_masks(shown, asset.width, asset.height)

    return files.drawn(request, draw, repr(wanted))


def _shows(shape: Shape, selection: Selection) -> bool:
    of_class = selection.class_id in (None, shape.class_id)
    return of_class and (shape.confidence is None or shape.confidence >= selection.confidence)


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


pages.include_router(_images)
