"""All classes of the store, and one with what each dataset calls it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from mir_ops.console.access import may, needs
from mir_ops.console.classes.views import get_class, list_classes
from mir_ops.console.frame import Opened, page

pages = APIRouter(prefix="/classes")


@pages.get("", dependencies=[needs("read")])
def show_classes(request: Request, sources: Opened, q: str = "") -> HTMLResponse:
    found = list_classes(sources, lambda project: may(request, "read", project))
    word = q.strip().lower()
    shown = [each for each in found if any(word in one for one in (each.name, *each.words))]
    return page(request, "classes/list.html", classes=shown, total=len(found), q=q)


@pages.get("/{class_id}", dependencies=[needs("read")])
def show_class(request: Request, sources: Opened, class_id: int) -> HTMLResponse:
    found = get_class(sources, class_id, lambda project: may(request, "read", project))
    editable = {each for each in found.projects if may(request, "edit", each)}
    return page(request, "classes/show.html", entry=found, editable=editable)
