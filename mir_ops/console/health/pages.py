"""What works of this deployment, and what to do about the rest."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from mir_ops.console.access import needs
from mir_ops.console.frame import page
from mir_ops.console.health.examining import examined

pages = APIRouter(prefix="/health")


@pages.get("", dependencies=[needs("read")])
def show_health(request: Request) -> HTMLResponse:
    findings = examined(request)
    counts = {
        health: sum(each.health == health for each in findings) for health in ("failed", "warning")
    }
    return page(request, "health/show.html", findings=findings, counts=counts)
