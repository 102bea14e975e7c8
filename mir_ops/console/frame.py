"""What the routes of all sections share: what is stored, what was sent, how a page is drawn."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.responses import HTMLResponse

from mir_ops.catalog import Catalog
from mir_ops.console.access import is_in_catalog, may
from mir_ops.console.messages import LANGUAGES, language
from mir_ops.console.rendering import render
from mir_ops.console.runs import runs_of
from mir_ops.console.sources import Sources
from mir_ops.errors import StoreError
from mir_ops.store import Store


def open_sources(request: Request) -> Sources:
    sources = request.app.state.open_sources()
    assert isinstance(sources, Sources)
    return sources


Opened = Annotated[Sources, Depends(open_sources)]


def _own_store(request: Request, sources: Opened) -> Store:
    author: str | None = getattr(request.state, "mir_author", None)
    return sources.store.by(author) if author else sources.store


OwnStore = Annotated[Store, Depends(_own_store)]
"""To write to: commits name the caller, where whoever mounts the console says who that is."""


def _catalog(sources: Opened) -> Catalog:
    if sources.catalog is None:
        raise StoreError("There is no catalog here", code="no-catalog")
    return sources.catalog


async def _sent(request: Request) -> dict[str, Any]:
    """The mapping that was sent: JSON by its own word. The API bounds how long it is."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "Send JSON, as `Content-Type: application/json`")
    try:
        mapping = json.loads(await request.body(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"The body is not JSON: {error}") from None
    if not isinstance(mapping, dict):
        raise HTTPException(400, "The body is no mapping of keys to values")
    return mapping


Kept = Annotated[Catalog, Depends(_catalog)]
Sent = Annotated[dict[str, Any], Depends(_sent)]


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """The page, drawn; the template's folder is its section.

    Templates are given, besides `values`: `root`, the way up to the first page; `section`;
    `may(action)`, of the project in the address; `runs`, or None where there is no Airflow.
    """
    html = render(
        template,
        root=way_up(request),
        section=template.rpartition("/")[0],
        language=language(),
        languages=LANGUAGES,
        place=request.path_params.get("project"),
        in_catalog=is_in_catalog(request),
        may=lambda action: may(request, action),
        runs=runs_of(request),
        **values,
    )
    headers = {"Cache-Control": "no-store", "Vary": "Cookie, Accept-Language"}
    return HTMLResponse(html, status, headers=headers)


def way_up(request: Request) -> str:
    """From this page to the console's first one, as a relative address.

    Relative, because the same page is served alone, under a prefix inside Airflow, and behind
    proxies that drop a part of the path.
    """
    path, mount = request.scope["path"], request.scope.get("root_path", "")
    inside = path[len(mount) :] if mount and path.startswith(mount + "/") else path
    return "../" * (inside.count("/") - 1) or "./"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"`{name}` is no number of JSON")
