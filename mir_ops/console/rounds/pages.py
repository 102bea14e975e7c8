"""What a project's rounds left to read."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from mir_ops.console.access import ProjectKey, needs
from mir_ops.console.frame import Opened
from mir_ops.console.headers import REPORT_POLICY

pages = APIRouter(prefix="/projects/{project}/rounds")


@pages.get("/{number}/gates/{stage}", dependencies=[needs("read")])
def show_gate_report(sources: Opened, project: ProjectKey, number: int, stage: str) -> HTMLResponse:
    headers = {"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(sources.gate_report(project, number, stage), headers=headers)
